//! Wall time for certificates and ticket keys: the machine's, or one that a test or the simulator moves.
//!
//! rustls asks for the time while it works, so it cannot be an argument of each call; it is an argument of the
//! [`super::TlsStore`] instead. Never used for timeouts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// Where wall time comes from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Machine,
    Driven(Arc<AtomicU64>),
}

/// Moves a driven [`Clock`] and all of its clones.
#[derive(Clone, Debug)]
pub struct ClockHand(Arc<AtomicU64>);

impl Clock {
    /// The machine's clock.
    pub fn machine() -> Self {
        Self(Source::Machine)
    }

    /// A clock that stands still until its hand is moved.
    pub fn driven(at: SystemTime) -> (Self, ClockHand) {
        let seconds = Arc::new(AtomicU64::new(unix_seconds(at)));
        (Self(Source::Driven(Arc::clone(&seconds))), ClockHand(seconds))
    }

    pub(super) fn now(&self) -> UnixTime {
        match &self.0 {
            Source::Machine => UnixTime::now(),
            // One number that depends on nothing else: no ordering is needed.
            Source::Driven(seconds) => {
                UnixTime::since_unix_epoch(Duration::from_secs(seconds.load(Ordering::Relaxed)))
            }
        }
    }
}

impl ClockHand {
    /// Moves the clock, in either direction.
    pub fn set(&self, now: SystemTime) {
        self.0.store(unix_seconds(now), Ordering::Relaxed);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.now())
    }
}

/// Times before 1970 are 1970: every certificate is then not yet valid, which fails safe.
fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
