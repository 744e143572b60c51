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
    /// Tries what was asked for. Run it on a thread of its own: it builds and drops a ring.
    pub fn choose(self) -> io::Result<DriverChoice> {
        match self {
            Self::Epoll => {
                Ok(DriverChoice { kind: Kind::Epoll, cause: Cause::Asked, reason: "asked for".into() })
            }
            Self::IoUring => ring().map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!(
                        "io_uring cannot be used ({error}); allow it in the seccomp profile and \
                         kernel.io_uring_disabled, or choose --driver auto or epoll"
                    ),
                )
            }),
            Self::Auto => Ok(ring().unwrap_or_else(|error| DriverChoice {
                kind: Kind::Epoll,
                cause: Cause::of(&error),
                reason: format!("io_uring cannot be used: {error}"),
            })),
        }
    }
}

impl DriverChoice {
    /// `io_uring` or `epoll`.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Ring | Kind::PlainRing => "io_uring",
            Kind::Epoll => "epoll",
        }
    }
}

fn ring() -> io::Result<DriverChoice> {
    let refused = match builder(Kind::Ring).build() {
        Ok(_) => {
            return Ok(DriverChoice {
                kind: Kind::Ring,
                cause: Cause::Permitted,
                reason: "permitted by kernel and policy".into(),
            });
        }
        Err(error) => error,
    };
    builder(Kind::PlainRing).build()?;
    let reason = format!("permitted, but without our flags ({refused}): a kernel before 6.0");
    Ok(DriverChoice { kind: Kind::PlainRing, cause: Cause::OldKernel, reason })
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
    match choice.kind {
        Kind::Ring | Kind::PlainRing => builder(choice.kind).build()?.block_on(main),
        Kind::Epoll => RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?.block_on(main),
    }
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
        assert_eq!(Driver::Epoll.choose().unwrap().cause, Cause::Asked);
    }
}
