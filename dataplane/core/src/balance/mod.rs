//! Chooses the endpoint of a cluster for each request, on one core. Pure: time and chance are arguments.
//!
//! Each core balances by what it sees itself: in-flight requests and latencies are never shared. What is shared is
//! ejection: [`health`](crate::health) decides it on the cluster's home core, and the balancer mirrors it here. Picking is O(1) and
//! allocates nothing. It never waits and never counts a limit; that is `admission`.

mod ewma;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ringway_config::{Balance, Endpoint};

use crate::health::{Finding, News, Report};
use crate::time::Instant;
use ewma::PeakEwma;

/// From an endpoint's return to its full share. Long enough to notice trouble, short enough for an endpoint that was restarted.
const RAMP: Duration = Duration::from_secs(2);

/// What a request under way at an endpoint that was never measured counts as. Long, so that the first request's
/// answer is awaited before more are sent while others are known to be quick; Finagle does the same.
const UNMEASURED_NANOS: f64 = 1e9;

/// An endpoint of one balancer. Stays the same while the endpoint is listed; never names another endpoint later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId {
    index: u32,
    generation: u32,
}

impl EndpointId {
    /// A small number, unique among the endpoints that exist at the same time: an index for what is kept per endpoint.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// A chosen endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Which.
    pub endpoint: EndpointId,
    /// Where it is.
    pub address: SocketAddr,
    /// This request finds out whether an ejected endpoint is well again.
    pub probe: bool,
}

/// How an attempt went, as far as its endpoint is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, this long after the request was sent (to the response's head, not its end).
    Answered(Duration),
    /// It did not answer, or as a broken gateway does; see [`health::verdict`](crate::health::verdict).
    Failed,
}

/// What an update of the endpoints changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Endpoints that are new.
    pub added: Vec<EndpointId>,
    /// Endpoints that get no further pick; their idle connections are of no use.
    pub removed: Vec<EndpointId>,
}

/// Whether an endpoint takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// With its full share.
    Serving,
    /// With a growing share, after an ejection.
    Ramping {
        /// Its return.
        since: Instant,
    },
    /// Left out for a while.
    Ejected,
    /// Left out, but this core sends one request to see.
    Probing(Probe),
}

/// How far a probe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The next request is it.
    Due,
    /// It is under way.
    Sent,
    /// Its result was reported; the home core decides.
    Told,
}

/// The endpoints of one cluster as one core sees them.
#[derive(Debug)]
pub struct Balancer {
    policy: Balance,
    /// Whether results are reported to the cluster's home core.
    watched: bool,
    slots: Vec<Slot>,
    /// Slots without an endpoint.
    free: Vec<u32>,
    by_address: BTreeMap<SocketAddr, u32>,
    /// Slots of listed endpoints, by address.
    listed: Vec<u32>,
    /// Those of them that are neither ejected nor probed: what is picked from.
    serving: Vec<u32>,
    /// Slots with a probe to send.
    probes: Vec<u32>,
    /// Whose turn it is; `None` before the first pick, so that cores do not all begin with the same endpoint.
    turn: Option<usize>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    address: SocketAddr,
    listed: bool,
    standing: Standing,
    /// The home core counts failures: it wants to hear of a success.
    suspect: bool,
    in_flight: u32,
    latency: PeakEwma,
}

impl Balancer {
    /// Without endpoints. `watched`: the cluster ejects outliers, so results are reported.
    pub fn new(policy: Balance, watched: bool) -> Self {
        Self {
            policy,
            watched,
            slots: Vec::new(),
            free: Vec::new(),
            by_address: BTreeMap::new(),
            listed: Vec::new(),
            serving: Vec::new(),
            probes: Vec::new(),
            turn: None,
        }
    }

    /// Changes how endpoints are chosen; what is known about them stays.
    pub fn adopt(&mut self, policy: Balance, watched: bool) {
        self.policy = policy;
        self.watched = watched;
        if !watched {
            for index in 0..self.slots.len() {
                self.slots[index].suspect = false;
                self.slots[index].standing = Standing::Serving;
            }
            self.rebuild();
        }
    }

    /// Takes over today's endpoints. Survivors keep their state; removed ones get no pick from now on, and are
    /// forgotten with their last request.
    pub fn update(&mut self, endpoints: &[Endpoint]) -> Changed {
        let mut changed = Changed::default();
        let mut before = std::mem::take(&mut self.by_address);
        for endpoint in endpoints {
            // A duplicate was inserted a moment ago: it must not become a second slot.
            if self.by_address.contains_key(&endpoint.address) {
                continue;
            }
            let slot = before.remove(&endpoint.address).unwrap_or_else(|| {
                let slot = self.insert(endpoint.address);
                changed.added.push(self.id(slot));
                slot
            });
            self.by_address.insert(endpoint.address, slot);
        }
        for slot in before.into_values() {
            changed.removed.push(self.id(slot));
            self.slots[slot as usize].listed = false;
            self.forget_if_over(slot);
        }
        self.rebuild();
        changed
    }

    /// Chooses an endpoint: one that was not `tried` yet if there is any, else any. `None` when there is no endpoint.
    ///
    /// Only listed endpoints are chosen, and ejected ones only when all are: then the evidence is worth nothing.
    pub fn pick(&mut self, draw: u64, now: Instant, tried: &[EndpointId]) -> Option<Pick> {
        if let Some(slot) = self.take_probe(tried) {
            return Some(Pick { probe: true, ..self.picked(slot) });
        }
        let choices = if self.serving.is_empty() { &self.listed } else { &self.serving };
        let count = choices.len();
        let slot = match count {
            0 => return None,
            1 => choices[0],
            _ => match self.policy {
                Balance::RoundRobin => {
                    let turn = self.turn.unwrap_or_else(|| scale((draw >> 32) as u32, count));
                    let (slot, steps) = self.in_turn(choices, turn, draw, now, tried);
                    self.turn = Some((turn + steps) % count);
                    slot
                }
                Balance::PeakEwma | Balance::LeastRequests => self.better_of_two(choices, draw, now, tried),
            },
        };
        Some(self.picked(slot))
    }

    /// A request begins at an endpoint.
    pub fn started(&mut self, endpoint: EndpointId) {
        if let Some(slot) = self.slot_mut(endpoint) {
            slot.in_flight += 1;
        }
    }

    /// What an attempt showed, as soon as it is known; nothing is known of an attempt that the client gave up.
    /// The report, if any, is for the cluster's home core.
    #[must_use = "the home core must hear of it"]
    pub fn observed(&mut self, endpoint: EndpointId, outcome: Outcome, now: Instant) -> Option<Report> {
        let watched = self.watched;
        let slot = self.slot_mut(endpoint)?;
        match outcome {
            Outcome::Answered(latency) => slot.latency.observe(latency, now),
            Outcome::Failed => slot.latency.failed(now),
        }
        let probed = match slot.standing {
            // Evidence about an ejected endpoint comes from requests that began before: old news.
            Standing::Ejected | Standing::Probing(Probe::Due | Probe::Told) => return None,
            Standing::Probing(Probe::Sent) => {
                slot.standing = Standing::Probing(Probe::Told);
                true
            }
            Standing::Serving | Standing::Ramping { .. } => false,
        };
        let finding = match outcome {
            Outcome::Failed => {
                slot.suspect = true;
                Finding::Failed
            }
            Outcome::Answered(_) if slot.suspect || probed => {
                slot.suspect = false;
                Finding::Answered
            }
            Outcome::Answered(_) => return None,
        };
        (watched && slot.listed).then_some(Report { address: slot.address, finding })
    }

    /// A request ends at an endpoint, in whatever way.
    pub fn finished(&mut self, endpoint: EndpointId) {
        let index = endpoint.index;
        let Some(slot) = self.slot_mut(endpoint) else { return };
        debug_assert!(slot.in_flight > 0, "a request ends once, after it began");
        slot.in_flight = slot.in_flight.saturating_sub(1);
        if slot.in_flight > 0 {
            return;
        }
        if slot.standing == Standing::Probing(Probe::Sent) && slot.listed {
            // The client left too early to tell.
            slot.standing = Standing::Probing(Probe::Due);
            self.probes.push(index);
        }
        self.forget_if_over(index);
    }

    /// Takes in what the cluster's home core decided. An answer, if any, is for it.
    #[must_use = "the home core waits for the answer"]
    pub fn heard(&mut self, news: News, now: Instant) -> Option<Report> {
        let address = news.address();
        let index = *self.by_address.get(&address)?;
        let slot = &mut self.slots[index as usize];
        match news {
            News::Suspect(_) => slot.suspect = true,
            News::Eject(_) => slot.standing = Standing::Ejected,
            News::Probe(_) => slot.standing = Standing::Probing(Probe::Due),
            News::Withdraw(_) => {
                if slot.standing != Standing::Probing(Probe::Due) {
                    return None;
                }
                slot.standing = Standing::Ejected;
                self.rebuild();
                return Some(Report { address, finding: Finding::Unprobed });
            }
            News::Readmit(_) => {
                slot.suspect = false;
                slot.standing = Standing::Ramping { since: now };
                // The estimate is that of an endpoint that failed: it would keep the endpoint out for a minute.
                slot.latency = PeakEwma::default();
            }
        }
        self.rebuild();
        None
    }

    /// Whether a pick would find an endpoint that was not tried.
    pub fn has_untried(&self, tried: &[EndpointId]) -> bool {
        let choices = if self.serving.is_empty() { &self.listed } else { &self.serving };
        self.untried(choices, 0, tried).is_some()
    }

    /// How many endpoints are listed.
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether none is listed.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Where an endpoint is; `None` once it is forgotten.
    pub fn address(&self, endpoint: EndpointId) -> Option<SocketAddr> {
        self.slot(endpoint).map(|slot| slot.address)
    }

    /// Whether an endpoint may still be picked: connections to one that may not are closed instead of kept.
    pub fn is_listed(&self, endpoint: EndpointId) -> bool {
        self.slot(endpoint).is_some_and(|slot| slot.listed)
    }

    /// Requests under way at an endpoint.
    pub fn in_flight(&self, endpoint: EndpointId) -> u32 {
        self.slot(endpoint).map_or(0, |slot| slot.in_flight)
    }

    /// Every listed endpoint with its standing, by address.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, SocketAddr, Standing)> {
        self.listed.iter().map(|index| {
            let slot = &self.slots[*index as usize];
            (self.id(*index), slot.address, slot.standing)
        })
    }

    fn better_of_two(&self, choices: &[u32], draw: u64, now: Instant, tried: &[EndpointId]) -> u32 {
        let first = scale((draw >> 32) as u32, choices.len());
        let second = scale(draw as u32, choices.len() - 1);
        let second = if second >= first { second + 1 } else { second };
        let (a, b) = match (self.untried(choices, first, tried), self.untried(choices, second, tried)) {
            (Some(a), Some(b)) => (choices[a], choices[b]),
            _ => (choices[first], choices[second]),
        };
        let luck = mix(draw);
        match (self.takes_share(a, luck as u32, now), self.takes_share(b, (luck >> 32) as u32, now)) {
            (true, false) => a,
            (false, true) => b,
            _ if self.cost(b, now) < self.cost(a, now) => b,
            _ => a,
        }
    }

    /// The endpoint whose turn it is and how many turns that used.
    fn in_turn(
        &self,
        choices: &[u32],
        turn: usize,
        draw: u64,
        now: Instant,
        tried: &[EndpointId],
    ) -> (u32, usize) {
        let turn = turn % choices.len();
        let position = self.untried(choices, turn, tried).unwrap_or(turn);
        let steps = (position + choices.len() - turn) % choices.len() + 1;
        if self.takes_share(choices[position], mix(draw) as u32, now) {
            return (choices[position], steps);
        }
        // A ramping endpoint lets this turn pass; its neighbour takes it, ramping or not, so that this ends.
        let next = (position + 1) % choices.len();
        let next = self.untried(choices, next, tried).unwrap_or(next);
        (choices[next], (next + choices.len() - turn) % choices.len() + 1)
    }

    /// The first position from `start` that was not tried. At most `tried.len()` positions are in the way.
    fn untried(&self, choices: &[u32], start: usize, tried: &[EndpointId]) -> Option<usize> {
        (0..choices.len().min(tried.len() + 1))
            .map(|step| (start + step) % choices.len())
            .find(|position| !tried.contains(&self.id(choices[*position])))
    }

    fn takes_share(&self, slot: u32, luck: u32, now: Instant) -> bool {
        match self.slots[slot as usize].standing {
            Standing::Ramping { since } => {
                let share = now.since(since).as_secs_f64() / RAMP.as_secs_f64();
                f64::from(luck) < share * f64::from(u32::MAX)
            }
            Standing::Serving | Standing::Ejected | Standing::Probing(_) => true,
        }
    }

    fn cost(&self, slot: u32, now: Instant) -> f64 {
        let slot = &self.slots[slot as usize];
        let in_flight = f64::from(slot.in_flight);
        match self.policy {
            Balance::LeastRequests | Balance::RoundRobin => in_flight,
            Balance::PeakEwma => match slot.latency.nanos(now) {
                Some(nanos) => nanos * (in_flight + 1.0),
                None => UNMEASURED_NANOS * in_flight,
            },
        }
    }

    fn take_probe(&mut self, tried: &[EndpointId]) -> Option<u32> {
        let place = self.probes.iter().position(|slot| !tried.contains(&self.id(*slot)))?;
        let slot = self.probes.swap_remove(place);
        self.slots[slot as usize].standing = Standing::Probing(Probe::Sent);
        Some(slot)
    }

    fn picked(&self, slot: u32) -> Pick {
        Pick { endpoint: self.id(slot), address: self.slots[slot as usize].address, probe: false }
    }

    fn id(&self, index: u32) -> EndpointId {
        EndpointId { index, generation: self.slots[index as usize].generation }
    }

    fn slot(&self, endpoint: EndpointId) -> Option<&Slot> {
        self.slots.get(endpoint.index()).filter(|slot| slot.generation == endpoint.generation)
    }

    fn slot_mut(&mut self, endpoint: EndpointId) -> Option<&mut Slot> {
        self.slots.get_mut(endpoint.index()).filter(|slot| slot.generation == endpoint.generation)
    }

    fn insert(&mut self, address: SocketAddr) -> u32 {
        let slot = |generation| Slot {
            generation,
            address,
            listed: true,
            standing: Standing::Serving,
            suspect: false,
            in_flight: 0,
            latency: PeakEwma::default(),
        };
        match self.free.pop() {
            Some(index) => {
                let generation = self.slots[index as usize].generation;
                self.slots[index as usize] = slot(generation);
                index
            }
            None => {
                self.slots.push(slot(0));
                u32::try_from(self.slots.len() - 1).expect("an endpoint set has fewer than 2^32 endpoints")
            }
        }
    }

    fn forget_if_over(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.listed && slot.in_flight == 0 {
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(index);
        }
    }

    fn rebuild(&mut self) {
        self.listed.clear();
        self.listed.extend(self.by_address.values());
        self.serving.clear();
        self.probes.clear();
        for index in &self.listed {
            match self.slots[*index as usize].standing {
                Standing::Serving | Standing::Ramping { .. } => self.serving.push(*index),
                Standing::Probing(Probe::Due) => self.probes.push(*index),
                Standing::Probing(Probe::Sent | Probe::Told) | Standing::Ejected => {}
            }
        }
    }
}

/// Maps 32 random bits onto `0..count`.
fn scale(random: u32, count: usize) -> usize {
    ((u64::from(random) * count as u64) >> 32) as usize
}

/// Further chance from a drawn number (the finalizer of SplitMix64), independent enough of the bits that chose.
fn mix(draw: u64) -> u64 {
    let mut z = draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::{BTreeMap, BTreeSet};

    const POLICIES: [Balance; 3] = [Balance::PeakEwma, Balance::RoundRobin, Balance::LeastRequests];

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn endpoints(ports: impl IntoIterator<Item = u16>) -> Vec<Endpoint> {
        ports.into_iter().map(|port| Endpoint { address: address(port) }).collect()
    }

    fn balancer(policy: Balance, ports: impl IntoIterator<Item = u16>) -> Balancer {
        let mut balancer = Balancer::new(policy, true);
        balancer.update(&endpoints(ports));
        balancer
    }

    fn at(micros: u64) -> Instant {
        Instant::after_origin(Duration::from_micros(micros))
    }

    struct Draws(u64);

    impl Draws {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(1);
            mix(self.0)
        }
    }

    /// Picks by port, over `seconds` of one request a millisecond; `latency` by port, in microseconds.
    fn simulate(balancer: &mut Balancer, seconds: u64, latency: impl Fn(u16) -> u64) -> BTreeMap<u16, u64> {
        let mut draws = Draws(7);
        let mut running: BTreeSet<(u64, u64, EndpointId, u64)> = BTreeSet::new();
        let mut counts = BTreeMap::new();
        for request in 0..seconds * 1000 {
            let now = request * 1000;
            while let Some(first) = running.first().filter(|first| first.0 <= now).copied() {
                running.remove(&first);
                let (end, _, endpoint, took) = first;
                let outcome = Outcome::Answered(Duration::from_micros(took));
                assert_eq!(balancer.observed(endpoint, outcome, at(end)), None);
                balancer.finished(endpoint);
            }
            let pick = balancer.pick(draws.next(), at(now), &[]).expect("there are endpoints");
            balancer.started(pick.endpoint);
            *counts.entry(pick.address.port()).or_insert(0) += 1;
            let took = latency(pick.address.port());
            running.insert((now + took, request, pick.endpoint, took));
        }
        for (_, _, endpoint, _) in running {
            balancer.finished(endpoint);
        }
        counts
    }

    #[test]
    fn a_slow_endpoint_loses_nine_tenths_of_its_share() {
        for count in [2, 3, 10] {
            let mut balancer = balancer(Balance::PeakEwma, 0..count);
            let counts = simulate(&mut balancer, 10, |port| if port == 0 { 200_000 } else { 2_000 });
            let share = counts.get(&0).copied().unwrap_or(0) as f64 / (10_000.0 / f64::from(count));
            assert!(share < 0.1, "{count} endpoints: {share}");
        }
    }

    #[test]
    fn a_slow_endpoint_is_left_within_a_second() {
        let mut balancer = balancer(Balance::PeakEwma, 0..3);
        simulate(&mut balancer, 10, |_| 2_000);
        let counts = simulate(&mut balancer, 1, |port| if port == 0 { 200_000 } else { 2_000 });
        assert!(counts[&0] < 100, "{counts:?}");
    }

    #[test]
    fn equal_endpoints_get_equal_shares() {
        for policy in POLICIES {
            let mut balancer = balancer(policy, 0..5);
            let counts = simulate(&mut balancer, 20, |_| 4_000);
            for (port, count) in counts {
                assert!((3_200..4_800).contains(&count), "{policy:?} {port}: {count}");
            }
        }
    }

    #[test]
    fn round_robin_is_exact_wherever_it_begins() {
        for seed in 0..8u64 {
            let mut balancer = balancer(Balance::RoundRobin, 0..4);
            let mut counts = [0; 4];
            for step in 0..400 {
                let pick = balancer.pick(mix(seed) >> (step % 3), at(step), &[]).expect("endpoints");
                counts[usize::from(pick.address.port())] += 1;
            }
            assert_eq!(counts, [100; 4]);
        }
    }

    #[test]
    fn least_requests_prefers_the_idle_endpoint() {
        let mut balancer = balancer(Balance::LeastRequests, 0..2);
        let first = balancer.pick(0, at(0), &[]).expect("endpoints");
        balancer.started(first.endpoint);
        let mut draws = Draws(1);
        for _ in 0..100 {
            let pick = balancer.pick(draws.next(), at(0), &[]).expect("endpoints");
            assert_ne!(pick.endpoint, first.endpoint);
        }
    }

    #[test]
    fn quick_failures_do_not_attract_traffic() {
        let mut balancer = balancer(Balance::PeakEwma, 0..3);
        let mut draws = Draws(3);
        let mut failed = 0;
        for step in 0..3000 {
            let pick = balancer.pick(draws.next(), at(step * 1000), &[]).expect("endpoints");
            balancer.started(pick.endpoint);
            let outcome = match pick.address.port() {
                0 => {
                    failed += 1;
                    Outcome::Failed
                }
                _ => Outcome::Answered(Duration::from_millis(5)),
            };
            let _ = balancer.observed(pick.endpoint, outcome, at(step * 1000));
            balancer.finished(pick.endpoint);
        }
        assert!(failed < 100, "{failed}");
    }

    #[test]
    fn tried_endpoints_are_avoided_while_there_are_others() {
        let mut draws = Draws(5);
        for policy in POLICIES {
            let mut balancer = balancer(policy, 0..4);
            for _ in 0..500 {
                let mut tried = Vec::new();
                for _ in 0..4 {
                    let pick = balancer.pick(draws.next(), at(0), &tried).expect("endpoints");
                    assert!(!tried.contains(&pick.endpoint), "{policy:?}");
                    tried.push(pick.endpoint);
                }
                assert!(balancer.pick(draws.next(), at(0), &tried).is_some(), "all were tried: again");
            }
        }
    }

    #[test]
    fn survivors_keep_their_state_and_names() {
        let mut balancer = balancer(Balance::PeakEwma, [1, 2]);
        let (survivor, _, _) = balancer.endpoints().nth(1).expect("two");
        balancer.started(survivor);
        let changed = balancer.update(&endpoints([2, 3]));
        assert_eq!((changed.added.len(), changed.removed.len()), (1, 1));
        assert_eq!((balancer.address(survivor), balancer.in_flight(survivor)), (Some(address(2)), 1));
    }

    #[test]
    fn a_removed_endpoint_is_never_picked_and_forgotten_with_its_last_request() {
        let mut balancer = balancer(Balance::RoundRobin, [1, 2]);
        let (old, _, _) = balancer.endpoints().next().expect("two");
        balancer.started(old);
        balancer.update(&endpoints([2]));
        for draw in 0..10 {
            assert_eq!(balancer.pick(draw, at(0), &[]).expect("one").address, address(2));
        }
        assert!(balancer.address(old).is_some() && !balancer.is_listed(old));
        let again = balancer.update(&endpoints([1, 2])).added;
        assert_ne!(again, [old], "what comes back is another endpoint");
        balancer.finished(old);
        assert_eq!(balancer.address(old), None);
        balancer.update(&endpoints([1, 2, 3]));
        assert_eq!(balancer.address(old), None, "a new tenant of the slot has another name");
        balancer.finished(old);
        assert_eq!(balancer.len(), 3);
    }

    #[test]
    fn without_endpoints_there_is_no_pick() {
        for policy in POLICIES {
            assert_eq!(balancer(policy, []).pick(1, at(0), &[]), None);
        }
    }

    #[test]
    fn duplicates_count_once() {
        let balancer = balancer(Balance::RoundRobin, [1, 1, 2]);
        assert_eq!(balancer.len(), 2);
    }

    #[test]
    fn only_listed_and_not_ejected_endpoints_are_picked() {
        let mut draws = Draws(11);
        for policy in POLICIES {
            let mut balancer = balancer(policy, 0..6);
            let mut ejected = BTreeSet::new();
            let mut listed: BTreeSet<u16> = (0..6).collect();
            for step in 0..2000u64 {
                let port = (draws.next() % 8) as u16;
                match draws.next() % 4 {
                    0 => {
                        assert_eq!(balancer.heard(News::Eject(address(port)), at(step)), None);
                        if listed.contains(&port) {
                            ejected.insert(port);
                        }
                    }
                    1 => {
                        assert_eq!(balancer.heard(News::Readmit(address(port)), at(step)), None);
                        ejected.remove(&port);
                    }
                    2 => {
                        if !listed.remove(&port) {
                            listed.insert(port);
                        }
                        ejected.remove(&port);
                        balancer.update(&endpoints(listed.iter().copied()));
                    }
                    _ => {
                        let Some(pick) = balancer.pick(draws.next(), at(step), &[]) else {
                            assert!(listed.is_empty());
                            continue;
                        };
                        let port = pick.address.port();
                        assert!(listed.contains(&port));
                        assert!(!ejected.contains(&port) || ejected == listed, "{policy:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_ejected_endpoint_comes_back_by_one_probe_and_then_within_two_seconds() {
        for policy in POLICIES {
            let mut balancer = balancer(policy, 0..2);
            assert_eq!(balancer.heard(News::Eject(address(0)), at(0)), None);
            assert_eq!(balancer.heard(News::Probe(address(0)), at(0)), None);
            let probe = balancer.pick(0, at(0), &[]).expect("endpoints");
            assert!(probe.probe && probe.address == address(0));
            balancer.started(probe.endpoint);
            let mut draws = Draws(13);
            for _ in 0..100 {
                assert_eq!(balancer.pick(draws.next(), at(0), &[]).expect("one").address, address(1));
            }
            let outcome = Outcome::Answered(Duration::from_millis(1));
            let report = balancer.observed(probe.endpoint, outcome, at(1000));
            assert_eq!(report, Some(Report { address: address(0), finding: Finding::Answered }));
            assert_eq!(balancer.heard(News::Readmit(address(0)), at(2000)), None);
            balancer.finished(probe.endpoint);
            let mut share = |micros: u64| {
                let picks = (0..1000).filter_map(|_| balancer.pick(draws.next(), at(micros), &[]));
                picks.filter(|pick| pick.address == address(0)).count()
            };
            assert_eq!(share(2000), 0);
            let half = share(1_002_000);
            assert!((100..600).contains(&half), "{policy:?} {half}");
            let full = share(2_002_000);
            assert!(full >= 500 - 50, "{policy:?} {full}");
        }
    }

    #[test]
    fn a_probe_that_showed_nothing_is_sent_again_and_can_be_withdrawn() {
        let mut balancer = balancer(Balance::RoundRobin, 0..2);
        assert_eq!(balancer.heard(News::Probe(address(0)), at(0)), None);
        let probe = balancer.pick(0, at(0), &[]).expect("endpoints");
        balancer.started(probe.endpoint);
        assert_eq!(balancer.heard(News::Withdraw(address(0)), at(0)), None, "it is under way");
        balancer.finished(probe.endpoint);
        let unprobed = Report { address: address(0), finding: Finding::Unprobed };
        assert_eq!(balancer.heard(News::Withdraw(address(0)), at(0)), Some(unprobed));
        assert_eq!(balancer.pick(0, at(0), &[]).expect("endpoints").address, address(1));
    }
}
