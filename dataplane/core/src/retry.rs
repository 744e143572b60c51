//! Decides whether a request is sent again, when, and how long each attempt may take. Pure: time and chance are arguments.
//!
//! Two reasons to send again. A **replay** is ours to make without being asked, because the request cannot have been
//! acted upon, or was lost in the race for a reused connection: at once, elsewhere, a fixed number of times. A
//! **retry** is asked for by the rule's policy (checklist TR5 to TR9): after a wait, as often as it says. Neither happens once a response
//! has begun, once body bytes are gone, or past the request's deadline.

use std::time::Duration;

use ringway_config::{Retry, Timeouts};

use crate::failure::{Evidence, Failure, UpstreamCause};
use crate::time::Instant;

/// Replays of one request, whatever happens. Two more endpoints say no: the cluster is in trouble, and more attempts
/// would be part of it.
const REPLAYS_MAX: u32 = 2;

/// The first wait when the policy names none; Envoy's default.
const BACKOFF_DEFAULT: Duration = Duration::from_millis(25);

/// Waits double up to this multiple of the first; Envoy's default.
const BACKOFF_GROWTH_MAX: u32 = 10;

/// The attempts of one request. Also its clock: see [`Attempts::timer`].
#[derive(Clone, Debug)]
pub struct Attempts {
    deadline: Option<Instant>,
    per_attempt: Option<Duration>,
    replays: u32,
    /// A request that was lost on a reused connection was sent again.
    raced: bool,
    retries: u32,
}

/// What a repetition depends on, beside what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Doing it twice is as good as once (RFC 9110 section 9.2.2).
    pub idempotent: bool,
    /// Every body byte that was taken from the client is still held (`replay_bytes_max`), or none was taken.
    pub body_held: bool,
    /// There is an endpoint that was not tried.
    pub elsewhere: bool,
}

/// Whether a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Yes, then; preferably to an endpoint that was not tried.
    At(Instant),
    /// No.
    No(Final),
}

/// Why a request is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Final {
    /// Nothing calls for it: the failure is not one that another attempt could cure or that policy names.
    Unwanted,
    /// The upstream may have acted, and nobody asked for a repetition.
    Unsafe,
    /// As often as allowed. The log shows URX.
    Exhausted,
    /// Body bytes are gone.
    BodyGone,
    /// There is no time left: the answer is 504 (checklist TR8), at once.
    Deadline,
}

/// What is over when an attempt's timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The attempt's time: [`UpstreamCause::Timeout`].
    Attempt,
    /// The request's time: [`Failure::RequestTimeout`].
    Request,
}

impl Attempts {
    /// For a request whose first byte came at `started`.
    pub fn new(timeouts: &Timeouts, started: Instant) -> Self {
        Self {
            deadline: timeouts.request.map(|limit| started + limit),
            per_attempt: timeouts.backend_request,
            replays: 0,
            raced: false,
            retries: 0,
        }
    }

    /// The request was lost in the race for a kept connection. Others that are kept may be as dead, and it is sent again
    /// only once: that must be on a new one.
    pub fn wants_new_connection(&self) -> bool {
        self.raced
    }

    /// When the request's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// When an attempt that begins now must be over, and what that means.
    pub fn timer(&self, now: Instant) -> Option<(Instant, Expiry)> {
        let attempt = self.per_attempt.map(|limit| now + limit);
        match (attempt, self.deadline) {
            (Some(attempt), Some(request)) if attempt < request => Some((attempt, Expiry::Attempt)),
            (_, Some(request)) => Some((request, Expiry::Request)),
            (Some(attempt), None) => Some((attempt, Expiry::Attempt)),
            (None, None) => None,
        }
    }

    /// Decides what follows a failed attempt. An answer that policy may want to try again comes as [`Failure::of_status`]; on `No`
    /// it is passed on. `draw` spreads the waits.
    pub fn again(
        &mut self,
        failure: &Failure,
        policy: Option<&Retry>,
        given: Circumstances,
        draw: u64,
        now: Instant,
    ) -> Again {
        let Failure::Upstream { evidence, cause, .. } = *failure else {
            return Again::No(Final::Unwanted);
        };
        let replay = replayable(evidence, cause, policy.is_some(), given.elsewhere);
        let replays = self.replays < REPLAYS_MAX
            && match replay {
                Some(Replay::Harmless) => true,
                Some(Replay::Raced) => given.idempotent && !self.raced,
                None => false,
            };
        let at = if replays {
            now
        } else {
            match policy.filter(|policy| names(policy, evidence, cause)) {
                Some(policy) if self.retries < policy.attempts => now + wait(policy, self.retries, draw),
                Some(_) => return Again::No(Final::Exhausted),
                None => return Again::No(refusal(replay, evidence, given.idempotent)),
            }
        };
        if !given.body_held {
            return Again::No(Final::BodyGone);
        }
        if self.deadline.is_some_and(|deadline| deadline <= at) {
            return Again::No(Final::Deadline);
        }
        if replays {
            self.replays += 1;
            self.raced |= replay == Some(Replay::Raced);
        } else {
            self.retries += 1;
        }
        Again::At(at)
    }
}

/// Why a replay is ours to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replay {
    /// The upstream cannot have acted.
    Harmless,
    /// Most likely the server closed the idle connection while our request was on its way.
    Raced,
}

fn replayable(evidence: Evidence, cause: UpstreamCause, has_policy: bool, elsewhere: bool) -> Option<Replay> {
    match (evidence, cause) {
        (Evidence::Refused, _) => Some(Replay::Harmless),
        // A pooled connection that was found dead: no error of the endpoint.
        (Evidence::Unsent, UpstreamCause::Closed) => Some(Replay::Harmless),
        // Without a policy. With one they are among the errors that it counts and waits for (checklist TR7, TR8). The endpoint
        // that just refused would refuse again.
        (Evidence::Unsent, UpstreamCause::Connect | UpstreamCause::ConnectTimeout | UpstreamCause::Tls) => {
            (!has_policy && elsewhere).then_some(Replay::Harmless)
        }
        (Evidence::Unanswered { reused: true }, UpstreamCause::Closed) => Some(Replay::Raced),
        _ => None,
    }
}

/// Whether a policy asks for another attempt: for its statuses, and for every error before a response began.
fn names(policy: &Retry, evidence: Evidence, cause: UpstreamCause) -> bool {
    match cause {
        UpstreamCause::Status(status) => policy.codes.binary_search(&status).is_ok(),
        // A response that cannot be understood has begun.
        UpstreamCause::Protocol => false,
        UpstreamCause::Connect
        | UpstreamCause::ConnectTimeout
        | UpstreamCause::Tls
        | UpstreamCause::Closed
        | UpstreamCause::Timeout => evidence != Evidence::Answered,
    }
}

fn refusal(replay: Option<Replay>, evidence: Evidence, idempotent: bool) -> Final {
    match (replay, evidence) {
        (Some(Replay::Raced), _) if !idempotent => Final::Unsafe,
        (Some(_), _) => Final::Exhausted,
        (None, Evidence::Unanswered { .. }) => Final::Unsafe,
        (None, _) => Final::Unwanted,
    }
}

/// The policy's backoff is the least wait. It doubles with each retry, within bounds, and up to a quarter is added by
/// chance, so that requests that failed together do not come back together.
fn wait(policy: &Retry, retries: u32, draw: u64) -> Duration {
    let first = policy.backoff.unwrap_or(BACKOFF_DEFAULT);
    let growth = 1u32.checked_shl(retries).unwrap_or(u32::MAX).min(BACKOFF_GROWTH_MAX);
    let least = first.saturating_mul(growth);
    least.saturating_add((least / 4).mul_f64((draw >> 11) as f64 / (1u64 << 53) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::SocketAddr;

    const REFUSED: Evidence = Evidence::Refused;
    const UNSENT: Evidence = Evidence::Unsent;
    const FRESH: Evidence = Evidence::Unanswered { reused: false };
    const REUSED: Evidence = Evidence::Unanswered { reused: true };
    const ANSWERED: Evidence = Evidence::Answered;

    const GET: Circumstances = Circumstances { idempotent: true, body_held: true, elsewhere: true };
    const POST: Circumstances = Circumstances { idempotent: false, ..GET };

    fn failure(evidence: Evidence, cause: UpstreamCause) -> Failure {
        Failure::Upstream { endpoint: SocketAddr::from(([10, 0, 0, 1], 80)), evidence, cause }
    }

    fn status(status: u16) -> Failure {
        Failure::of_status(SocketAddr::from(([10, 0, 0, 1], 80)), status)
    }

    fn at(millis: u64) -> Instant {
        Instant::after_origin(Duration::from_millis(millis))
    }

    fn attempts() -> Attempts {
        Attempts::new(&Timeouts::default(), at(0))
    }

    fn policy(attempts: u32) -> Retry {
        Retry { codes: vec![500, 503], attempts, backoff: Some(Duration::from_millis(100)) }
    }

    /// How often in a row the same failure is followed by another attempt, and why it ends.
    fn row(failure: &Failure, policy: Option<&Retry>, given: Circumstances) -> (u32, Final) {
        let mut attempts = attempts();
        for count in 0..100 {
            match attempts.again(failure, policy, given, 0, at(0)) {
                Again::At(_) => {}
                Again::No(reason) => return (count, reason),
            }
        }
        unreachable!("attempts are bounded")
    }

    #[test]
    fn without_a_policy_only_what_cannot_have_been_acted_upon_is_sent_again() {
        use UpstreamCause::{Closed, Connect, ConnectTimeout, Protocol, Timeout, Tls};
        let table = [
            (UNSENT, Connect, GET, (2, Final::Exhausted)),
            (UNSENT, Connect, POST, (2, Final::Exhausted)),
            (UNSENT, ConnectTimeout, POST, (2, Final::Exhausted)),
            (UNSENT, Tls, POST, (2, Final::Exhausted)),
            (UNSENT, Connect, Circumstances { elsewhere: false, ..GET }, (0, Final::Unwanted)),
            (UNSENT, Closed, Circumstances { elsewhere: false, ..POST }, (2, Final::Exhausted)),
            (UNSENT, Timeout, GET, (0, Final::Unwanted)),
            (REFUSED, Closed, POST, (2, Final::Exhausted)),
            (REUSED, Closed, GET, (1, Final::Exhausted)),
            (REUSED, Closed, POST, (0, Final::Unsafe)),
            (REUSED, Timeout, GET, (0, Final::Unsafe)),
            (FRESH, Closed, GET, (0, Final::Unsafe)),
            (FRESH, Timeout, GET, (0, Final::Unsafe)),
            (ANSWERED, Closed, GET, (0, Final::Unwanted)),
            (ANSWERED, Protocol, GET, (0, Final::Unwanted)),
        ];
        for (evidence, cause, given, expected) in table {
            let failure = failure(evidence, cause);
            assert_eq!(row(&failure, None, given), expected, "{failure} {given:?}");
        }
        assert_eq!(row(&status(503), None, GET), (0, Final::Unwanted));
    }

    #[test]
    fn a_policy_adds_its_statuses_and_every_error_before_a_response() {
        use UpstreamCause::{Closed, Connect, Protocol, Timeout};
        let policy = policy(3);
        let table = [
            (failure(UNSENT, Connect), POST, (3, Final::Exhausted)),
            (failure(FRESH, Closed), POST, (3, Final::Exhausted)),
            (failure(FRESH, Timeout), POST, (3, Final::Exhausted)),
            (failure(REUSED, Closed), GET, (4, Final::Exhausted)),
            (failure(REUSED, Closed), POST, (3, Final::Exhausted)),
            (failure(ANSWERED, Closed), GET, (0, Final::Unwanted)),
            (failure(ANSWERED, Protocol), GET, (0, Final::Unwanted)),
            (status(500), POST, (3, Final::Exhausted)),
            (status(501), POST, (0, Final::Unwanted)),
        ];
        for (failure, given, expected) in table {
            assert_eq!(row(&failure, Some(&policy), given), expected, "{failure} {given:?}");
        }
    }

    #[test]
    fn a_race_on_a_reused_connection_is_replayed_once_per_request() {
        let mut attempts = attempts();
        let raced = failure(REUSED, UpstreamCause::Closed);
        assert!(!attempts.wants_new_connection());
        assert_eq!(attempts.again(&raced, None, GET, 0, at(5)), Again::At(at(5)));
        assert!(attempts.wants_new_connection(), "another kept connection may be as dead");
        let refused = failure(REFUSED, UpstreamCause::Closed);
        assert_eq!(attempts.again(&refused, None, GET, 0, at(6)), Again::At(at(6)));
        assert_eq!(attempts.again(&raced, None, GET, 0, at(7)), Again::No(Final::Exhausted));
    }

    #[test]
    fn nothing_is_sent_again_once_body_bytes_are_gone() {
        let given = Circumstances { body_held: false, ..GET };
        assert_eq!(row(&failure(REFUSED, UpstreamCause::Closed), None, given), (0, Final::BodyGone));
        assert_eq!(row(&status(500), Some(&policy(3)), given), (0, Final::BodyGone));
    }

    #[test]
    fn failures_that_are_no_endpoints_are_final() {
        for failure in [
            Failure::ClientGone,
            Failure::NoEndpoint,
            Failure::Overflow("requests_max"),
            Failure::RequestTimeout,
        ] {
            assert_eq!(row(&failure, Some(&policy(3)), GET), (0, Final::Unwanted));
        }
    }

    #[test]
    fn retries_wait_at_least_the_backoff_longer_each_time_and_within_bounds() {
        let policy = policy(10);
        for draw in [0, u64::MAX / 2, u64::MAX] {
            let mut attempts = attempts();
            let mut waits = Vec::new();
            for _ in 0..10 {
                let Again::At(at) = attempts.again(&status(500), Some(&policy), GET, draw, at(1000)) else {
                    panic!("ten are allowed");
                };
                waits.push(at.since(Instant::after_origin(Duration::from_secs(1))).as_millis());
            }
            assert!(waits.is_sorted() && waits[0] >= 100 && waits[1] >= 200, "{waits:?}");
            assert!(*waits.last().expect("ten") <= 1250, "{waits:?}");
        }
    }

    #[test]
    fn a_retry_that_would_come_too_late_is_not_waited_for() {
        let timeouts = Timeouts { request: Some(Duration::from_millis(350)), backend_request: None };
        let mut attempts = Attempts::new(&timeouts, at(0));
        let policy = policy(10);
        assert_eq!(attempts.again(&status(500), Some(&policy), GET, 0, at(10)), Again::At(at(110)));
        assert_eq!(attempts.again(&status(500), Some(&policy), GET, 0, at(120)), Again::At(at(320)));
        assert_eq!(attempts.again(&status(500), Some(&policy), GET, 0, at(330)), Again::No(Final::Deadline));
    }

    #[test]
    fn an_attempt_ends_with_its_own_time_or_the_requests_whichever_is_first() {
        let timeouts = |request: Option<u64>, backend: Option<u64>| Timeouts {
            request: request.map(Duration::from_millis),
            backend_request: backend.map(Duration::from_millis),
        };
        let timer = |timeouts, now| Attempts::new(&timeouts, at(0)).timer(at(now));
        assert_eq!(timer(timeouts(None, None), 5), None);
        assert_eq!(timer(timeouts(None, Some(10)), 5), Some((at(15), Expiry::Attempt)));
        assert_eq!(timer(timeouts(Some(20), Some(10)), 5), Some((at(15), Expiry::Attempt)));
        assert_eq!(timer(timeouts(Some(20), Some(10)), 15), Some((at(20), Expiry::Request)));
        assert_eq!(timer(timeouts(Some(20), None), 15), Some((at(20), Expiry::Request)));
    }
}
