//! Which kernel interface carries the sockets of a core: io_uring, or epoll where that is forbidden.
//!
//! Default container seccomp profiles forbid io_uring, and kernels before 6.0 refuse some of our flags; so the choice
//! is made by trying, once, and is told to whoever asks.

use std::future::Future;
use std::io;

use monoio::{FusionDriver, IoUringDriver, LegacyDriver, RuntimeBuilder};

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// io_uring if the kernel and its policy permit it, else epoll.
    #[default]
    Auto,
    /// io_uring or nothing.
    IoUring,
    /// epoll.
    Epoll,
}

/// What is in force, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverChoice {
    kind: Kind,
    /// Whether a core that gets no ring of its own after all may go on with epoll.
    may_fall_back: bool,
    /// In one word, for `ringway_driver_info`.
    pub cause: Cause,
    /// In words, for the log.
    pub reason: String,
}

/// Why a driver was chosen: few enough to be a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// epoll was asked for.
    Asked,
    /// io_uring is permitted by kernel and policy.
    Permitted,
    /// io_uring is permitted, but the kernel does not know our flags.
    OldKernel,
    /// io_uring is forbidden: by seccomp or by `kernel.io_uring_disabled`.
    Forbidden,
    /// The kernel has no io_uring, or a policy says so.
    Missing,
    /// io_uring cannot be set up for another reason, such as too little memory; the log says which.
    Failed,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Asked, Self::Permitted, Self::OldKernel, Self::Forbidden, Self::Missing, Self::Failed];

    /// As the label has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Permitted => "permitted",
            Self::OldKernel => "old_kernel",
            Self::Forbidden => "forbidden",
            Self::Missing => "missing",
            Self::Failed => "failed",
        }
    }

    /// Why io_uring cannot be used.
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Forbidden,
            // ENOSYS.
            io::ErrorKind::Unsupported => Self::Missing,
            _ => Self::Failed,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ring,
    PlainRing,
    Epoll,
}

/// Submission queue entries of a core's ring. When more are waiting, monoio submits in between.
const RING_ENTRIES: u32 = 1024;
/// Completion queue entries: far above the submissions, since an overflowing queue strands completions.
const RING_COMPLETIONS: u32 = 16 * RING_ENTRIES;

impl Driver {
    /// Tries what was asked for. Run it on a thread of its own: it builds a ring for each core, and drops them.
    pub fn choose(self, cores: usize) -> io::Result<DriverChoice> {
        match self {
            Self::Epoll => Ok(DriverChoice::new(Kind::Epoll, Cause::Asked, "asked for".into())),
            Self::IoUring => rings(cores).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!(
                        "io_uring cannot be used ({error}); allow it in the seccomp profile and \
                         kernel.io_uring_disabled, or choose --driver auto or epoll"
                    ),
                )
            }),
            Self::Auto => Ok(match rings(cores) {
                Ok(choice) => DriverChoice { may_fall_back: true, ..choice },
                Err(error) => {
                    let reason = format!("io_uring cannot be used: {error}");
                    DriverChoice::new(Kind::Epoll, Cause::of(&error), reason)
                }
            }),
        }
    }
}

impl DriverChoice {
    fn new(kind: Kind, cause: Cause, reason: String) -> Self {
        Self { kind, may_fall_back: false, cause, reason }
    }

    /// `io_uring` or `epoll`.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ring | Kind::PlainRing => "io_uring",
            Kind::Epoll => "epoll",
        }
    }
}

/// As many rings at once as there are cores: their memory counts against the user's limit of locked memory, which
/// all processes of the user share, so that one may be had and the next not.
fn rings(cores: usize) -> io::Result<DriverChoice> {
    let try_out = |kind| (0..cores.max(1)).map(|_| builder(kind).build()).collect::<io::Result<Vec<_>>>();
    let refused = match try_out(Kind::Ring) {
        Ok(_) => {
            let reason = "permitted by kernel and policy".into();
            return Ok(DriverChoice::new(Kind::Ring, Cause::Permitted, reason));
        }
        Err(error) => error,
    };
    try_out(Kind::PlainRing)?;
    let reason = format!("permitted, but without our flags ({refused}): a kernel before 6.0");
    Ok(DriverChoice::new(Kind::PlainRing, Cause::OldKernel, reason))
}

fn builder(kind: Kind) -> RuntimeBuilder<monoio::time::TimeDriver<IoUringDriver>> {
    let mut ring = io_uring::IoUring::builder();
    ring.setup_cqsize(RING_COMPLETIONS);
    if kind == Kind::Ring {
        // Not DEFER_TASKRUN: under monoio 0.2.4 completions then starve behind runnable tasks.
        ring.setup_coop_taskrun().setup_single_issuer();
    }
    RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_ENTRIES).uring_builder(ring).enable_timer()
}

/// Runs a core's main future on this thread until it ends.
pub(crate) fn run_on(choice: &DriverChoice, main: impl Future<Output = ()>) -> io::Result<()> {
    if choice.kind != Kind::Epoll {
        match builder(choice.kind).build() {
            Ok(mut ring) => {
                ring.block_on(main);
                return Ok(());
            }
            // Another process of the same user was faster: better a slower core than none.
            Err(error) if choice.may_fall_back => {
                tracing::warn!(%error, "a data thread gets no ring of its own any more; it goes on with epoll");
            }
            Err(error) => return Err(error),
        }
    }
    RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?.block_on(main);
    Ok(())
}

// `FusionDriver` would choose by itself and hide why.
const _: Option<FusionDriver> = None;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_answers_has_its_word() {
        // EPERM and EACCES are policies' answers, ENOSYS is an old kernel's, ENOMEM that of a low memlock limit.
        for (code, expected) in [(1, "forbidden"), (13, "forbidden"), (38, "missing"), (12, "failed")] {
            assert_eq!(Cause::of(&io::Error::from_raw_os_error(code)).name(), expected, "{code}");
        }
        assert_eq!(Driver::Epoll.choose(1).unwrap().cause, Cause::Asked);
    }
}
