//! What may go wrong, and how often. The rates themselves are drawn from the seed, so that runs differ in kind.

use std::time::Duration;

use crate::random::Random;

/// Rates are times in a million, at each occasion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// A read gives less than is there.
    pub short_reads: u32,
    /// A write takes less than fits.
    pub short_writes: u32,
    /// Waiting for readiness ends too early.
    pub spurious: u32,
    /// A socket takes no bytes for a while.
    pub write_stalls: u32,
    /// The longest way of a piece of data; the shortest takes no time.
    pub latency_max: Duration,
    /// A piece of data takes up to `stall_max`, and so does what follows it.
    pub stalls: u32,
    /// See `stalls`; also for writing and for cores.
    pub stall_max: Duration,
    /// A core stands still for up to `stall_max`.
    pub core_stalls: u32,
    /// Buffers of a connection, in bytes: the least and the most.
    pub buffer: (usize, usize),
    /// How long a message between cores may take.
    pub mail_max: Duration,
    /// What harms connections from clients.
    pub downstream: Harm,
    /// What harms connections made by the proxy.
    pub upstream: Harm,
    /// A datagram is lost.
    pub datagram_loss: u32,
    /// A datagram comes twice.
    pub datagram_copies: u32,
}

/// Faults that a connection cannot survive; the checkers are told of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Harm {
    /// A read or write finds that the connection was reset.
    pub resets: u32,
    /// A connect is refused.
    pub refused: u32,
    /// A connect is never answered.
    pub black_holes: u32,
    /// Accepting finds that the connection is gone already.
    pub aborted: u32,
}

/// Which harm a scenario can bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Every request must succeed.
    Harmless,
    /// Connections to backends break.
    Upstream,
    /// Connections of clients break.
    Downstream,
    /// All may break.
    Both,
}

impl Faults {
    /// The perfect network: everything arrives whole and at once.
    pub fn none() -> Self {
        Self { buffer: (64 << 10, 64 << 10), ..Self::default() }
    }

    /// Draws the rates of a run. A quarter of the runs have none of a given fault, the others little to much of it.
    pub fn draw(random: &mut Random, severity: Severity) -> Self {
        let mut rate = |most: u32| match random.below(4) {
            0 => 0,
            1 => most / 100,
            2 => most / 10,
            _ => most,
        };
        let short_reads = rate(600_000);
        let short_writes = rate(600_000);
        let spurious = rate(300_000);
        let write_stalls = rate(20_000);
        let stalls = rate(10_000);
        let core_stalls = rate(2_000);
        let mut harm = |allowed: bool| {
            let mut rate = |most| if allowed { rate(most) } else { 0 };
            Harm {
                resets: rate(10_000),
                refused: rate(200_000),
                black_holes: rate(20_000),
                aborted: rate(50_000),
            }
        };
        let downstream = harm(matches!(severity, Severity::Downstream | Severity::Both));
        let upstream = harm(matches!(severity, Severity::Upstream | Severity::Both));
        let datagram_loss = rate(300_000);
        let datagram_copies = rate(100_000);
        // Bytes that go one by one must go fast, or a run takes hours, even of virtual time.
        let tiny = random.chance(200_000);
        let (buffer, latencies, stalls_max) = if tiny {
            ((1, 2000), [0, 0, 10, 100], [10, 10, 10])
        } else {
            ((2000, random.pick(&[4 << 10, 64 << 10, 256 << 10])), [0, 100, 5_000, 100_000], [10, 500, 3_000])
        };
        Self {
            short_reads,
            short_writes,
            spurious,
            write_stalls,
            latency_max: Duration::from_micros(random.pick(&latencies)),
            stalls,
            stall_max: Duration::from_millis(random.pick(&stalls_max)),
            core_stalls,
            buffer,
            mail_max: Duration::from_micros(random.pick(&[0, 50, 20_000])),
            downstream,
            upstream,
            datagram_loss,
            datagram_copies,
        }
    }
}
