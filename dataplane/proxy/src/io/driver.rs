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
    /// A core that cannot have a ring of its own takes epoll.
    yields: bool,
    /// In words, for the log and `ringway_driver_info`.
    pub reason: String,
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
            Self::Epoll => Ok(DriverChoice { kind: Kind::Epoll, yields: false, reason: "asked for".into() }),
            Self::IoUring => ring().map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!(
                        "io_uring cannot be used ({error}); allow it in the seccomp profile and \
                         kernel.io_uring_disabled, or choose --driver auto or epoll"
                    ),
                )
            }),
            Self::Auto => Ok(match ring() {
                Ok(ring) => DriverChoice { yields: true, ..ring },
                Err(error) => {
                    let reason = format!("io_uring cannot be used: {error}");
                    DriverChoice { kind: Kind::Epoll, yields: false, reason }
                }
            }),
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
            let reason = "permitted by kernel and policy".into();
            return Ok(DriverChoice { kind: Kind::Ring, yields: false, reason });
        }
        Err(error) => error,
    };
    builder(Kind::PlainRing).build()?;
    let reason = format!("permitted, but without our flags ({refused}): a kernel before 6.0");
    Ok(DriverChoice { kind: Kind::PlainRing, yields: false, reason })
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
        Kind::Ring | Kind::PlainRing => match builder(choice.kind).build() {
            Ok(mut ring) => ring.block_on(main),
            // Rings of all processes of a user count against its RLIMIT_MEMLOCK: the one that was tried may have been
            // the last that there was room for, as on a node with a dozen proxies.
            Err(error) if choice.yields => {
                tracing::warn!(%error, "no ring for this core, which takes epoll; see RLIMIT_MEMLOCK");
                RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?.block_on(main);
            }
            Err(error) => {
                tracing::error!(%error, "no ring for this core; see RLIMIT_MEMLOCK, or choose --driver auto or epoll");
                return Err(error);
            }
        },
        Kind::Epoll => RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?.block_on(main),
    }
    Ok(())
}

// `FusionDriver` would choose by itself and hide why.
const _: Option<FusionDriver> = None;
