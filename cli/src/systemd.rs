//! What systemd passes to a service and wants to hear from it. Without systemd all of it does nothing.

use std::os::fd::OwnedFd;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use sd_notify::NotifyState;

/// The sockets that were passed in (`LISTEN_FDS`), for the proxy to take instead of binding its own.
pub(crate) fn sockets() -> anyhow::Result<Vec<OwnedFd>> {
    if is_empty("LISTEN_PID") || is_empty("LISTEN_FDS") {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds()?;
    if passed.len() == 0 {
        return Ok(Vec::new());
    }
    // A number that came in a variable proves nothing about the descriptor; the kernel hands out a duplicate that we
    // own, or refuses. The original stays open, as it does in systemd itself.
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    passed.map(|number| Ok(pidfd_getfd(&own, number, PidfdGetfdFlags::empty())?)).collect()
}

/// Serving has begun.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] follows.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "systemd is not told of the reload"),
    }
}

/// The end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if is_empty("NOTIFY_SOCKET") {
        return;
    }
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// A variable that is set to nothing is not set.
fn is_empty(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value.is_empty())
}
