//! Divides the descriptors that the process may open between clients and upstreams, so that neither starves the other.

use ringway_core::limits::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open anyway: rings, listeners, files, the admin server.
const KEPT: usize = 128;
/// What every core has open anyway.
const KEPT_BY_CORE: usize = 16;

/// What there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Descriptors.
    pub(crate) descriptors: usize,
    /// Client connections.
    pub(crate) connections: usize,
}

/// A descriptor for each connection on either side is more than the usual soft limit; the hard one is for us to use.
/// Returns what may be open now.
pub(crate) fn raise_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!(?current, "the limit of open files stays as it is");
    }
    let open_max = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(open_max).unwrap_or(usize::MAX)
}

/// Lowers the limits to what there are descriptors for. A request needs one on either side, so clients get half of them; of
/// the other half, UDP sessions get half.
pub(crate) fn fit(limits: &mut Limits, descriptors: usize, cores: usize) -> Room {
    let free = descriptors.saturating_sub(KEPT.saturating_add(KEPT_BY_CORE.saturating_mul(cores)));
    limits.connections_max = limits.connections_max.min((free / 2).max(1));
    limits.udp_sessions_max = limits.udp_sessions_max.min((free / 4 / cores.max(1)).max(1));
    Room { descriptors, connections: limits.connections_max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_as_many_descriptors_to_upstreams_as_they_take() {
        for (descriptors, cores, connections, sessions) in [
            (1 << 20, 8, 50_000, 16_384),
            (1024, 2, 432, 108),
            (256, 1, 56, 28),
            (100, 4, 1, 1),
            (0, 1, 1, 1),
        ] {
            let mut limits = Limits::default();
            let room = fit(&mut limits, descriptors, cores);
            assert_eq!(room, Room { descriptors, connections });
            assert_eq!((limits.connections_max, limits.udp_sessions_max), (connections, sessions));
        }
    }

    #[test]
    fn what_was_asked_for_is_never_exceeded() {
        let mut limits = Limits { connections_max: 7, ..Limits::default() };
        assert_eq!(fit(&mut limits, usize::MAX, 2).connections, 7);
    }
}
