//! Leaves out endpoints that keep failing, for the whole process alike.
//!
//! Each cluster has a home core. Every core's balancer reports failures there ([`Report`]); [`OutlierHome`] counts,
//! decides and posts [`News`] back, which the balancers mirror. A success is reported only while failures are
//! counted, so a healthy cluster posts nothing. An ejected endpoint comes back through one probing request on one core, then
//! with a growing share. Never ejects the last endpoint. Pure: messages and time in, messages out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ringway_config::{Endpoint, Outlier};

use crate::failure::{Evidence, UpstreamCause};
use crate::time::Instant;

/// How long a core may keep a probe that it has no request for, before another core gets it.
const PROBE_WAIT: Duration = Duration::from_millis(500);

/// How long a probe that was sent may take. Then the endpoint is as bad as one that fails; and should a probe ever be lost with the
/// task that sent it, its endpoint is not.
const PROBE_TIME_MAX: Duration = Duration::from_secs(15);

/// Whether a response speaks against the endpoint that gave it: it is a gateway that could not, or is overloaded.
/// Other 5xx are the application's answer to this request.
pub fn verdict(status: u16, grpc_status: Option<u16>) -> Verdict {
    // DEADLINE_EXCEEDED is not counted: it is the client's deadline that passed. UNAVAILABLE is gRPC's 503.
    match (status, grpc_status) {
        (502..=504, _) | (_, Some(14)) => Verdict::Bad,
        _ => Verdict::Good,
    }
}

/// Whether a failed attempt speaks against its endpoint.
pub fn verdict_of(evidence: Evidence, cause: UpstreamCause) -> Verdict {
    match (cause, evidence) {
        // A server that goes away in an orderly way refuses the streams behind its GOAWAY, many at once; and one that ends
        // idle connections may do so while a request is on its way. Both serve whoever comes on a new connection.
        (UpstreamCause::Closed, Evidence::Refused | Evidence::Unanswered { reused: true }) => Verdict::Good,
        (UpstreamCause::Status(status), _) => verdict(status, None),
        (
            UpstreamCause::Connect
            | UpstreamCause::ConnectTimeout
            | UpstreamCause::Tls
            | UpstreamCause::Closed
            | UpstreamCause::Protocol
            | UpstreamCause::Timeout,
            _,
        ) => Verdict::Bad,
    }
}

/// What an attempt says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Good,
    /// It does not.
    Bad,
}

/// What a core tells a cluster's home core about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub address: SocketAddr,
    /// What was found.
    pub finding: Finding,
}

/// What a core found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An attempt failed.
    Failed,
    /// An attempt was answered; reported while failures are counted, and of probes.
    Answered,
    /// The probe that was withdrawn had not been sent.
    Unprobed,
}

/// What a cluster's home core tells cores about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Failures are counted: report the next success.
    Suspect(SocketAddr),
    /// Leave it out.
    Eject(SocketAddr),
    /// Send it one request and report how that went.
    Probe(SocketAddr),
    /// If the probe was not sent yet, say so and do not send it.
    Withdraw(SocketAddr),
    /// Let it take part again, with a growing share.
    Readmit(SocketAddr),
}

impl News {
    /// The endpoint it is about.
    pub fn address(self) -> SocketAddr {
        match self {
            Self::Suspect(address)
            | Self::Eject(address)
            | Self::Probe(address)
            | Self::Withdraw(address)
            | Self::Readmit(address) => address,
        }
    }
}

/// For whom news are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Every core, the home core too.
    Every,
    /// One core.
    Core(usize),
}

/// Decides which endpoints of a cluster are left out; lives on the cluster's home core.
#[derive(Debug)]
pub struct OutlierHome {
    policy: Outlier,
    cores: usize,
    endpoints: BTreeMap<SocketAddr, Record>,
}

#[derive(Debug)]
struct Record {
    /// Unlisted ones stay until their ejection is over: a core may have heard of it late.
    listed: bool,
    /// In a row, over all cores.
    failures: u32,
    /// The core that reported last: it has traffic for a probe.
    reporter: usize,
    /// How long the last ejection was; zero before the first.
    penalty: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Serving { since: Instant },
    Ejected { until: Instant },
    Probing { core: usize, patience: Instant, withdrawn: bool },
}

impl OutlierHome {
    /// Without endpoints, for `cores` cores.
    pub fn new(policy: Outlier, cores: usize) -> Self {
        Self { policy, cores: cores.max(1), endpoints: BTreeMap::new() }
    }

    /// Changes when endpoints are ejected; who is out stays out.
    pub fn adopt(&mut self, policy: Outlier) {
        self.policy = policy;
    }

    /// Takes over today's endpoints.
    pub fn update(&mut self, endpoints: &[Endpoint], now: Instant) {
        for record in self.endpoints.values_mut() {
            record.listed = false;
        }
        for endpoint in endpoints {
            let fresh = || Record {
                listed: true,
                failures: 0,
                reporter: 0,
                penalty: Duration::ZERO,
                state: State::Serving { since: now },
            };
            self.endpoints.entry(endpoint.address).or_insert_with(fresh).listed = true;
        }
        for record in self.endpoints.values_mut().filter(|record| !record.listed) {
            // The prober forgets the endpoint, so no result will come.
            if matches!(record.state, State::Probing { .. }) {
                record.state = State::Ejected { until: now };
            }
        }
        self.endpoints.retain(|_, record| record.listed || !matches!(record.state, State::Serving { .. }));
    }

    /// Takes in a report and posts what follows from it.
    pub fn heard(&mut self, core: usize, report: Report, now: Instant, post: &mut Vec<(To, News)>) {
        let room = self.room();
        let address = report.address;
        let Some(record) = self.endpoints.get_mut(&address) else { return };
        match (record.state, report.finding) {
            (State::Serving { .. }, Finding::Failed) => {
                record.reporter = core;
                record.failures = record.failures.saturating_add(1);
                if record.failures >= self.policy.consecutive_failures && room && record.listed {
                    record.eject(&self.policy, now);
                    post.push((To::Every, News::Eject(address)));
                } else if record.failures == 1 {
                    post.push((To::Every, News::Suspect(address)));
                }
            }
            (State::Serving { .. }, Finding::Answered) => record.failures = 0,
            (State::Probing { core: prober, .. }, Finding::Failed) if core == prober => {
                record.eject(&self.policy, now);
                post.push((To::Core(core), News::Eject(address)));
            }
            (State::Probing { core: prober, .. }, Finding::Answered) if core == prober => {
                record.failures = 0;
                record.state = State::Serving { since: now };
                post.push((To::Every, News::Readmit(address)));
            }
            (State::Probing { core: prober, .. }, Finding::Unprobed) if core == prober => {
                let core = (core + 1) % self.cores;
                record.state = State::Probing { core, patience: now + PROBE_WAIT, withdrawn: false };
                post.push((To::Core(core), News::Probe(address)));
            }
            // Answers to what was asked before the last decision.
            (State::Ejected { .. } | State::Probing { .. } | State::Serving { .. }, _) => {}
        }
    }

    /// When `tick` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let due = |record: &Record| match record.state {
            State::Serving { .. } => None,
            State::Ejected { until } => Some(until),
            State::Probing { patience, .. } => Some(patience),
        };
        self.endpoints.values().filter_map(due).min()
    }

    /// Ends what is over.
    pub fn tick(&mut self, now: Instant, post: &mut Vec<(To, News)>) {
        for (address, record) in &mut self.endpoints {
            match record.state {
                State::Ejected { until } if until <= now && record.listed => {
                    let core = record.reporter.min(self.cores - 1);
                    record.state = State::Probing { core, patience: now + PROBE_WAIT, withdrawn: false };
                    post.push((To::Core(core), News::Probe(*address)));
                }
                State::Probing { core, patience, withdrawn: false } if patience <= now => {
                    record.state = State::Probing { core, patience: now + PROBE_TIME_MAX, withdrawn: true };
                    post.push((To::Core(core), News::Withdraw(*address)));
                }
                State::Probing { core, patience, withdrawn: true } if patience <= now => {
                    record.eject(&self.policy, now);
                    post.push((To::Core(core), News::Eject(*address)));
                }
                State::Ejected { until } if until <= now => {
                    record.state = State::Serving { since: now };
                    post.push((To::Every, News::Readmit(*address)));
                }
                State::Serving { .. } | State::Ejected { .. } | State::Probing { .. } => {}
            }
        }
        self.endpoints.retain(|_, record| record.listed || !matches!(record.state, State::Serving { .. }));
    }

    /// Whether one more endpoint may be left out: at most the configured share (but one may), never all.
    fn room(&self) -> bool {
        let listed = self.endpoints.values().filter(|record| record.listed);
        let (count, out) = listed.fold((0, 0), |(count, out), record| {
            (count + 1, out + usize::from(!matches!(record.state, State::Serving { .. })))
        });
        let share = match usize::from(self.policy.ejected_percent_max) {
            0 => 0,
            percent => (count * percent / 100).max(1),
        };
        out < share && out + 1 < count
    }
}

impl Record {
    fn eject(&mut self, policy: &Outlier, now: Instant) {
        // Having served for longer than it was out, it starts anew; else it is out for twice as long.
        let forgiven = matches!(self.state, State::Serving { since } if now.since(since) > self.penalty.max(policy.ejection_min));
        self.penalty = if forgiven || self.penalty.is_zero() {
            policy.ejection_min
        } else {
            (self.penalty * 2).min(policy.ejection_max)
        };
        self.failures = 0;
        self.state = State::Ejected { until: now + self.penalty };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::VecDeque;

    use ringway_config::Balance;

    use crate::balance::{Balancer, Outcome};

    const POLICY: Outlier = Outlier {
        consecutive_failures: 3,
        ejection_min: Duration::from_secs(1),
        ejection_max: Duration::from_secs(60),
        ejected_percent_max: 50,
    };

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn at(millis: u64) -> Instant {
        Instant::after_origin(Duration::from_millis(millis))
    }

    fn home(count: u16) -> OutlierHome {
        let mut home = OutlierHome::new(POLICY, 4);
        home.update(&endpoints(count), at(0));
        home
    }

    fn endpoints(count: u16) -> Vec<Endpoint> {
        (0..count).map(|port| Endpoint { address: address(port) }).collect()
    }

    fn hear(home: &mut OutlierHome, core: usize, port: u16, finding: Finding, now: u64) -> Vec<(To, News)> {
        let mut post = Vec::new();
        home.heard(core, Report { address: address(port), finding }, at(now), &mut post);
        post
    }

    fn tick(home: &mut OutlierHome, now: u64) -> Vec<(To, News)> {
        let mut post = Vec::new();
        home.tick(at(now), &mut post);
        post
    }

    fn eject(home: &mut OutlierHome, port: u16, now: u64) -> bool {
        let posts: Vec<_> = (0..3).flat_map(|core| hear(home, core, port, Finding::Failed, now)).collect();
        posts.contains(&(To::Every, News::Eject(address(port))))
    }

    #[test]
    fn failures_on_different_cores_add_up() {
        let mut home = home(4);
        assert_eq!(hear(&mut home, 0, 1, Finding::Failed, 0), [(To::Every, News::Suspect(address(1)))]);
        assert_eq!(hear(&mut home, 1, 1, Finding::Failed, 0), []);
        assert_eq!(hear(&mut home, 2, 1, Finding::Failed, 0), [(To::Every, News::Eject(address(1)))]);
    }

    #[test]
    fn a_success_anywhere_begins_the_count_anew() {
        let mut home = home(4);
        hear(&mut home, 0, 1, Finding::Failed, 0);
        hear(&mut home, 0, 1, Finding::Failed, 0);
        hear(&mut home, 3, 1, Finding::Answered, 0);
        assert!(eject(&mut home, 1, 0), "three more are needed, and enough");
    }

    #[test]
    fn at_most_the_share_is_ejected_and_never_the_last() {
        let mut six = home(6);
        let ejected: Vec<_> = (0..6).map(|port| eject(&mut six, port, 0)).collect();
        assert_eq!(ejected, [true, true, true, false, false, false]);
        assert!(!eject(&mut home(1), 0, 0));
        let mut two = home(2);
        assert!(eject(&mut two, 0, 0) && !eject(&mut two, 1, 0));
    }

    #[test]
    fn the_penalty_doubles_with_each_failed_probe_and_is_forgiven_after_good_service() {
        let mut home = home(4);
        assert!(eject(&mut home, 1, 0));
        assert_eq!(home.deadline(), Some(at(1000)));
        assert_eq!(tick(&mut home, 999), []);
        let mut now = 1000;
        for penalty in [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            assert_eq!(tick(&mut home, now), [(To::Core(2), News::Probe(address(1)))]);
            assert_eq!(hear(&mut home, 2, 1, Finding::Failed, now), [(To::Core(2), News::Eject(address(1)))]);
            now += penalty;
            assert_eq!(home.deadline(), Some(at(now)));
        }
        tick(&mut home, now);
        assert_eq!(hear(&mut home, 2, 1, Finding::Answered, now), [(To::Every, News::Readmit(address(1)))]);
        assert!(eject(&mut home, 1, now + 60_001));
        assert_eq!(home.deadline(), Some(at(now + 61_001)), "one second again");
    }

    #[test]
    fn a_probe_moves_on_to_a_core_that_has_a_request_for_it() {
        let mut home = home(4);
        eject(&mut home, 1, 0);
        assert_eq!(tick(&mut home, 1000), [(To::Core(2), News::Probe(address(1)))]);
        assert_eq!(tick(&mut home, 1499), []);
        assert_eq!(tick(&mut home, 1500), [(To::Core(2), News::Withdraw(address(1)))]);
        assert_eq!(tick(&mut home, 9000), [], "it may be under way: only its core knows");
        assert_eq!(hear(&mut home, 1, 1, Finding::Answered, 9000), [], "not the core that was asked");
        assert_eq!(hear(&mut home, 2, 1, Finding::Unprobed, 9000), [(To::Core(3), News::Probe(address(1)))]);
        assert_eq!(hear(&mut home, 2, 1, Finding::Answered, 9000), [], "its turn is over");
        assert_eq!(hear(&mut home, 3, 1, Finding::Answered, 9001), [(To::Every, News::Readmit(address(1)))]);
    }

    #[test]
    fn a_probe_without_an_end_is_a_failed_one() {
        let mut home = home(4);
        eject(&mut home, 1, 0);
        tick(&mut home, 1000);
        tick(&mut home, 1500);
        assert_eq!(home.deadline(), Some(at(16_500)));
        assert_eq!(tick(&mut home, 16_500), [(To::Core(2), News::Eject(address(1)))]);
        assert_eq!(home.deadline(), Some(at(18_500)), "twice the first ejection");
        assert_eq!(tick(&mut home, 18_500), [(To::Core(2), News::Probe(address(1)))]);
    }

    #[test]
    fn an_ejected_endpoint_that_was_removed_is_readmitted_everywhere_and_forgotten() {
        let mut home = home(4);
        eject(&mut home, 3, 0);
        home.update(&endpoints(3), at(10));
        assert_eq!(tick(&mut home, 1000), [(To::Every, News::Readmit(address(3)))]);
        assert_eq!((home.deadline(), home.endpoints.len()), (None, 3));
    }

    /// Four cores with a request every millisecond in turn, and messages that take as long, until `end`. Says how many requests the
    /// endpoint 0 got in the last second of each ten, and how many failed in all; it fails while `down`.
    fn simulate(end: u64, down: impl Fn(u64) -> bool) -> (Vec<u32>, u32) {
        let mut home = OutlierHome::new(Outlier::default(), 4);
        home.update(&endpoints(3), at(0));
        let mut cores: Vec<_> = (0..4).map(|_| Balancer::new(Balance::RoundRobin, true)).collect();
        for core in &mut cores {
            core.update(&endpoints(3));
        }
        let mut reports: VecDeque<(usize, Report)> = VecDeque::new();
        let (mut shares, mut share, mut failed) = (Vec::new(), 0, 0);
        for now in 0..end {
            let mut post = Vec::new();
            for (core, report) in std::mem::take(&mut reports) {
                home.heard(core, report, at(now), &mut post);
            }
            if home.deadline().is_some_and(|deadline| deadline <= at(now)) {
                home.tick(at(now), &mut post);
            }
            for (to, news) in post {
                for (core, balancer) in cores.iter_mut().enumerate() {
                    if to == To::Every || to == To::Core(core) {
                        reports.extend(balancer.heard(news, at(now)).map(|report| (core, report)));
                    }
                }
            }
            let core = (now % 4) as usize;
            let balancer = &mut cores[core];
            let pick = balancer.pick(now.wrapping_mul(0x9e37_79b9_7f4a_7c15), at(now), &[]).expect("three");
            balancer.started(pick.endpoint);
            let hit = pick.address == address(0);
            let outcome = match hit && down(now) {
                true => Outcome::Failed,
                false => Outcome::Answered(Duration::from_millis(1)),
            };
            failed += u32::from(outcome == Outcome::Failed);
            let report = balancer.observed(pick.endpoint, outcome, at(now));
            reports.extend(report.map(|report| (core, report)));
            balancer.finished(pick.endpoint);
            share = if now % 1000 == 0 { 0 } else { share } + u32::from(hit);
            if now % 10_000 == 9_999 {
                shares.push(share);
            }
        }
        (shares, failed)
    }

    #[test]
    fn a_dead_endpoint_costs_a_few_requests_and_comes_back_after_it_recovers() {
        let (shares, failed) = simulate(60_000, |now| now < 15_000);
        assert!(
            failed < 25,
            "{failed}: seven, what was under way meanwhile, and a probe after 1, 2, 4 and 8 s"
        );
        assert_eq!(shares[0], 0);
        assert!(shares[1..].iter().all(|share| (300..=350).contains(share)), "{shares:?}");
    }

    #[test]
    fn a_flapping_endpoint_costs_less_than_a_thousandth_of_the_requests() {
        let (_, failed) = simulate(120_000, |now| now % 10_000 >= 5_000);
        assert!(failed < 120, "{failed}");
    }

    #[test]
    fn gateway_errors_speak_against_an_endpoint_and_other_errors_do_not() {
        let bad: Vec<_> = (100..600).filter(|status| verdict(*status, None) == Verdict::Bad).collect();
        assert_eq!(bad, [502, 503, 504]);
        assert_eq!(verdict(200, Some(14)), Verdict::Bad);
        assert_eq!(verdict(200, Some(4)), Verdict::Good);
        assert_eq!(verdict_of(Evidence::Answered, UpstreamCause::Status(500)), Verdict::Good);
    }

    #[test]
    fn an_orderly_end_of_a_connection_speaks_against_nobody() {
        for (evidence, expected) in [
            (Evidence::Refused, Verdict::Good),
            (Evidence::Unanswered { reused: true }, Verdict::Good),
            (Evidence::Unanswered { reused: false }, Verdict::Bad),
            (Evidence::Unsent, Verdict::Bad),
            (Evidence::Answered, Verdict::Bad),
        ] {
            assert_eq!(verdict_of(evidence, UpstreamCause::Closed), expected, "{evidence:?}");
        }
        let reused = Evidence::Unanswered { reused: true };
        assert_eq!(verdict_of(reused, UpstreamCause::Timeout), Verdict::Bad);
    }
}
