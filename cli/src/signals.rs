//! The signals that a process of ours listens to.

use tokio::signal::unix::{Signal, SignalKind, signal};

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
}
