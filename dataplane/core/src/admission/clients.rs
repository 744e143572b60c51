//! Connections of one client address, over all cores.
//!
//! While no core has more than its share (the limit divided by the cores) the limit cannot be exceeded, so ordinary
//! clients cost a count and no message. A core that needs more asks the address's home, which has all cores report their count and
//! from then on decides for all, until every core is well below its share. Messages between two cores keep their order.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Questions of one address that wait until all cores have reported. Further ones are refused: this is a flood.
const ASKING_MAX: usize = 1024;

/// A connection that waits for a verdict. Unique on its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(u64);

/// What a core tells an address's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToHome {
    /// May there be one more?
    Ask(IpAddr, AskId),
    /// The answer to a watch: so many are open here.
    Open(IpAddr, u32),
    /// One of a watched address ended.
    Closed(IpAddr),
}

/// What an address's home tells a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToCore {
    /// Say how many are open; from now on ask before each, and say when one ends.
    Watch(IpAddr),
    /// No longer.
    Unwatch(IpAddr),
    /// The answer to a question.
    Verdict(IpAddr, AskId, bool),
}

/// Whether a connection may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Arrived {
    /// Yes; [`Clients::left`] when it ends.
    Admitted,
    /// No: close it.
    Refused,
    /// Wait for the verdict; the question goes to the address's home.
    Ask(AskId, ToHome),
}

/// One core's count of connections by client address. Holds an entry only for addresses that have one.
#[derive(Debug)]
pub struct Clients {
    limit: u32,
    share: u32,
    asks: u64,
    open: BTreeMap<IpAddr, Open>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Open {
    count: u32,
    watched: bool,
}

impl Clients {
    /// Without connections.
    pub fn new(limit: u32, cores: usize) -> Self {
        Self { limit, share: share(limit, cores), asks: 0, open: BTreeMap::new() }
    }

    /// A connection of this address was accepted.
    pub fn arrived(&mut self, address: IpAddr) -> Arrived {
        let open = self.open.entry(address).or_default();
        if !open.watched && open.count < self.share {
            open.count += 1;
            return Arrived::Admitted;
        }
        if open.count >= self.limit {
            return Arrived::Refused;
        }
        let ask = AskId(self.asks);
        self.asks += 1;
        self.forget_if_empty(address);
        Arrived::Ask(ask, ToHome::Ask(address, ask))
    }

    /// An admitted connection of this address ended. The message, if any, is for its home.
    #[must_use = "a watched address's home must hear of it"]
    pub fn left(&mut self, address: IpAddr) -> Option<ToHome> {
        let open = self.open.get_mut(&address)?;
        debug_assert!(open.count > 0, "a connection ends once, after it was admitted");
        open.count = open.count.saturating_sub(1);
        let watched = open.watched;
        self.forget_if_empty(address);
        watched.then_some(ToHome::Closed(address))
    }

    /// Takes in what a home says. `Ok` is an answer for it, `Err` a verdict for the connection that asked; an admitted one that is gone
    /// meanwhile has [`left`](Self::left).
    pub fn heard(&mut self, message: ToCore) -> Option<Result<ToHome, (AskId, bool)>> {
        match message {
            ToCore::Watch(address) => {
                let open = self.open.entry(address).or_default();
                open.watched = true;
                Some(Ok(ToHome::Open(address, open.count)))
            }
            ToCore::Unwatch(address) => {
                if let Some(open) = self.open.get_mut(&address) {
                    open.watched = false;
                }
                self.forget_if_empty(address);
                None
            }
            ToCore::Verdict(address, ask, admitted) => {
                if admitted {
                    self.open.entry(address).or_default().count += 1;
                }
                Some(Err((ask, admitted)))
            }
        }
    }

    /// Open connections of an address on this core.
    pub fn open(&self, address: IpAddr) -> u32 {
        self.open.get(&address).map_or(0, |open| open.count)
    }

    fn forget_if_empty(&mut self, address: IpAddr) {
        if self.open.get(&address).is_some_and(|open| open.count == 0 && !open.watched) {
            self.open.remove(&address);
        }
    }
}

/// Decides for the addresses whose home this core is, while they have many connections.
#[derive(Debug)]
pub struct ClientHome {
    limit: u32,
    share: u32,
    cores: usize,
    watched: BTreeMap<IpAddr, Watched>,
}

#[derive(Debug)]
struct Watched {
    /// By core; `None`: it has not reported.
    open: Vec<Option<u32>>,
    asking: VecDeque<(usize, AskId)>,
}

impl ClientHome {
    /// Watching nobody.
    pub fn new(limit: u32, cores: usize) -> Self {
        Self { limit, share: share(limit, cores), cores: cores.max(1), watched: BTreeMap::new() }
    }

    /// Takes in what a core says and posts what follows from it.
    pub fn heard(&mut self, core: usize, message: ToHome, post: &mut Vec<(usize, ToCore)>) {
        let address = match message {
            ToHome::Ask(address, ask) => {
                let cores = self.cores;
                let watched = self.watched.entry(address).or_insert_with(|| {
                    post.extend((0..cores).map(|core| (core, ToCore::Watch(address))));
                    Watched { open: vec![None; cores], asking: VecDeque::new() }
                });
                if watched.asking.len() >= ASKING_MAX {
                    post.push((core, ToCore::Verdict(address, ask, false)));
                } else {
                    watched.asking.push_back((core, ask));
                }
                address
            }
            ToHome::Open(address, count) => {
                if let Some(watched) = self.watched.get_mut(&address) {
                    watched.open[core] = Some(count);
                }
                address
            }
            ToHome::Closed(address) => {
                // Of a core that has not reported it is old news, from an earlier watch.
                if let Some(Some(count)) =
                    self.watched.get_mut(&address).map(|watched| &mut watched.open[core])
                {
                    *count = count.saturating_sub(1);
                }
                address
            }
        };
        self.decide(address, post);
    }

    /// How many addresses are watched.
    pub fn watched(&self) -> usize {
        self.watched.len()
    }

    fn decide(&mut self, address: IpAddr, post: &mut Vec<(usize, ToCore)>) {
        let Some(watched) = self.watched.get_mut(&address) else { return };
        let Some(mut total) = watched.open.iter().copied().sum::<Option<u32>>() else { return };
        while let Some((core, ask)) = watched.asking.pop_front() {
            let admitted = total < self.limit;
            if admitted {
                total += 1;
                watched.open[core] = watched.open[core].map(|count| count + 1);
            }
            post.push((core, ToCore::Verdict(address, ask, admitted)));
        }
        // With room to grow, or the next connection would begin the watch anew.
        if watched.open.iter().flatten().all(|count| *count <= self.share / 2) {
            self.watched.remove(&address);
            post.extend((0..self.cores).map(|core| (core, ToCore::Unwatch(address))));
        }
    }
}

fn share(limit: u32, cores: usize) -> u32 {
    limit / u32::try_from(cores.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

    struct Model {
        limit: u32,
        home: ClientHome,
        cores: Vec<Clients>,
        to_home: Vec<VecDeque<ToHome>>,
        to_core: Vec<VecDeque<ToCore>>,
        asking: u32,
        messages: usize,
    }

    impl Model {
        fn new(limit: u32, cores: usize) -> Self {
            Self {
                limit,
                home: ClientHome::new(limit, cores),
                cores: (0..cores).map(|_| Clients::new(limit, cores)).collect(),
                to_home: vec![VecDeque::new(); cores],
                to_core: vec![VecDeque::new(); cores],
                asking: 0,
                messages: 0,
            }
        }

        fn arrive(&mut self, core: usize) -> bool {
            let arrived = self.cores[core].arrived(CLIENT);
            if let Arrived::Ask(_, message) = arrived {
                self.asking += 1;
                self.to_home[core].push_back(message);
            }
            self.check();
            arrived == Arrived::Admitted
        }

        fn leave(&mut self, core: usize) {
            if self.cores[core].open(CLIENT) > 0 {
                self.to_home[core].extend(self.cores[core].left(CLIENT));
            }
        }

        fn deliver(&mut self, core: usize, to_core: bool) -> bool {
            if to_core {
                let Some(message) = self.to_core[core].pop_front() else { return false };
                match self.cores[core].heard(message) {
                    Some(Ok(answer)) => self.to_home[core].push_back(answer),
                    Some(Err(_)) => self.asking -= 1,
                    None => {}
                }
            } else {
                let Some(message) = self.to_home[core].pop_front() else { return false };
                let mut post = Vec::new();
                self.home.heard(core, message, &mut post);
                for (core, message) in post {
                    self.to_core[core].push_back(message);
                }
            }
            self.messages += 1;
            self.check();
            true
        }

        fn deliver_all(&mut self) {
            while (0..self.cores.len()).any(|core| self.deliver(core, false) || self.deliver(core, true)) {}
        }

        fn open(&self) -> u32 {
            self.cores.iter().map(|core| core.open(CLIENT)).sum()
        }

        fn check(&self) {
            assert!(self.open() <= self.limit, "{} are open, {} are allowed", self.open(), self.limit);
        }
    }

    #[test]
    fn ordinary_clients_cost_no_message() {
        let mut model = Model::new(400, 4);
        for _ in 0..100 {
            for core in 0..4 {
                assert!(model.arrive(core));
            }
        }
        model.deliver_all();
        assert_eq!((model.open(), model.messages), (400, 0));
    }

    #[test]
    fn the_limit_is_reached_exactly_however_connections_fall_on_cores() {
        for limit in [1, 2, 3, 7, 100] {
            for cores in [1, 2, 4] {
                let mut model = Model::new(limit, cores);
                for _ in 0..limit + 10 {
                    model.arrive(0);
                    model.deliver_all();
                }
                assert_eq!(model.open(), limit, "{limit} on {cores} cores");
                model.leave(0);
                model.arrive(cores - 1);
                model.deliver_all();
                assert_eq!(model.open(), limit);
            }
        }
    }

    #[test]
    fn a_watch_ends_and_leaves_nothing_behind() {
        let mut model = Model::new(8, 4);
        for _ in 0..8 {
            model.arrive(1);
            model.deliver_all();
        }
        assert_eq!(model.home.watched(), 1);
        for _ in 0..8 {
            model.leave(1);
            model.deliver_all();
        }
        assert_eq!(model.home.watched(), 0);
        assert!(model.cores.iter().all(|core| core.open.is_empty()));
    }

    #[test]
    fn a_flood_of_questions_is_bounded() {
        let mut home = ClientHome::new(1, 2);
        let mut post = Vec::new();
        for ask in 0..ASKING_MAX as u64 + 5 {
            home.heard(0, ToHome::Ask(CLIENT, AskId(ask)), &mut post);
        }
        let refused = post.iter().filter(|(_, message)| matches!(message, ToCore::Verdict(_, _, false)));
        assert_eq!(refused.count(), 5);
    }

    proptest! {
        #[test]
        fn no_order_of_events_exceeds_the_limit_or_leaves_a_question_unanswered(
            limit in 1u32..20,
            cores in 1usize..5,
            acts in proptest::collection::vec((0usize..5, 0usize..5), 0..500),
        ) {
            let mut model = Model::new(limit, cores);
            for (act, core) in acts {
                let core = core % cores;
                match act {
                    0 | 1 => {
                        model.arrive(core);
                    }
                    2 => model.leave(core),
                    3 => {
                        model.deliver(core, false);
                    }
                    _ => {
                        model.deliver(core, true);
                    }
                }
            }
            model.deliver_all();
            prop_assert_eq!(model.asking, 0);
            let full = model.open();
            model.arrive(0);
            model.deliver_all();
            prop_assert_eq!(model.open(), (full + 1).min(limit), "whoever may come is let in");
            for core in 0..cores {
                while model.cores[core].open(CLIENT) > 0 {
                    model.leave(core);
                }
            }
            model.deliver_all();
            prop_assert_eq!(model.home.watched(), 0);
            prop_assert!(model.cores.iter().all(|core| core.open.is_empty()));
        }
    }
}
