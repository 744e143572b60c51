//! The signals that a process of ours listens to, and which of them count.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// `timeout` signals the process and then its group, and a wrapper passes on the Ctrl-C that the process hears as well:
/// one wish, told twice. Nobody presses a key twice in this time and means two things.
const ONE_WISH: Duration = Duration::from_millis(200);

/// What a signal tells us.
pub(crate) enum Told {
    Stop,
    Reload,
    Reopen,
}

/// The signals that we listen to.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
            _ = self.user.recv() => Told::Reopen,
        }
    }

    pub(crate) async fn until_stop(&mut self) {
        while !matches!(self.next().await, Told::Stop) {}
    }

    /// Waits for a signal to stop that is not the first one told again.
    pub(crate) async fn until_second_stop(&mut self, draining_since: Instant) {
        loop {
            self.until_stop().await;
            if !is_repeat(draining_since, Instant::now()) {
                return;
            }
            tracing::info!("told to stop once more within {ONE_WISH:?}: taken for the first signal");
        }
    }
}

/// Whether a signal to stop, heard now, is the one that began the drain.
fn is_repeat(draining_since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(draining_since) < ONE_WISH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_right_after_the_first_is_the_first_and_a_later_one_is_not() {
        let since = Instant::now();
        for (millis, expected) in [(0, true), (1, true), (199, true), (200, false), (5_000, false)] {
            assert_eq!(is_repeat(since, since + Duration::from_millis(millis)), expected, "{millis} ms");
        }
    }
}
