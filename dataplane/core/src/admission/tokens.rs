//! A limit over all cores as tokens, which its home lends to the cores and takes back.
//!
//! In quiet times a [`TokenPurse`] holds a few idle tokens and spends them without a message; what it does not need goes back with
//! [`TokenPurse::tick`]. When the [`TokenHome`] runs out it recalls the idle ones of all cores, and until there are
//! enough again every freed token comes home and goes to whoever has waited longest. Messages between two cores keep their
//! order; nothing else is assumed, so that a slow core delays and never loses a token.

use std::collections::VecDeque;

/// Tokens lent at once, beyond the one asked for. More would mean longer recalls and no fewer messages worth the name.
const BATCH_MAX: u32 = 64;

/// While others wait, how often in a row a freed token goes to a waiter of the same core without coming home. Saves
/// messages and, for connections, a new connection; bounds how long other cores' waiters are passed over.
const HANDOVERS_MAX: u32 = 16;

/// A wait for a token. Unique on its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WantId(u64);

/// What a core tells a limit's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToHome {
    /// A request waits for a token.
    Want(WantId),
    /// It waits no more: it gave up, or got a token on its own core.
    Withdraw(WantId),
    /// Tokens that were freed or are not needed.
    Return(u32),
    /// The answer to a recall: the tokens that were idle, maybe none.
    Recalled(u32),
}

/// What a limit's home tells a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToCore {
    /// Tokens: one for a wait, the rest in advance.
    Grant {
        /// The wait.
        want: WantId,
        /// At least one.
        tokens: u32,
    },
    /// A wait is over: too many wait already.
    Refuse(WantId),
    /// Send back what is idle, and from now on what is freed.
    Recall,
    /// Freed tokens may be kept again.
    Relax,
}

/// What tokens are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// Something short: it is freed when it ends. Once there were too few, tokens stay at home until a quarter is there.
    Requests,
    /// Something that is kept when it is idle. Idle ones are kept again as soon as nobody waits.
    Connections,
}

/// Owns a limit's tokens; lives on one core.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenHome {
    quantity: Quantity,
    limit: u32,
    pending_max: u32,
    /// By core.
    lent: Vec<u32>,
    /// Who waits, longest first.
    queue: VecDeque<(usize, WantId)>,
    /// Tokens were recalled.
    scarce: bool,
    /// Cores that have not answered the recall.
    unanswered: Vec<bool>,
}

impl TokenHome {
    /// With all tokens at home. `pending_max`: how many may wait for one; `None`: all (each is bounded by `requests_max` of its core).
    pub fn new(quantity: Quantity, limit: u32, pending_max: Option<u32>, cores: usize) -> Self {
        Self {
            quantity,
            limit,
            pending_max: pending_max.unwrap_or(u32::MAX),
            lent: vec![0; cores],
            queue: VecDeque::new(),
            scarce: false,
            unanswered: vec![false; cores],
        }
    }

    /// Changes the limits. What is beyond a smaller limit ends by itself.
    pub fn adopt(&mut self, limit: u32, pending_max: Option<u32>, post: &mut Vec<(usize, ToCore)>) {
        self.limit = limit;
        self.pending_max = pending_max.unwrap_or(u32::MAX);
        self.settle(post);
        if self.lent() > self.limit {
            self.recall(post);
        }
    }

    /// Takes in what a core says and posts what follows from it.
    pub fn heard(&mut self, core: usize, message: ToHome, post: &mut Vec<(usize, ToCore)>) {
        match message {
            ToHome::Want(want) => self.queue.push_back((core, want)),
            ToHome::Withdraw(want) => self.queue.retain(|waiting| *waiting != (core, want)),
            ToHome::Return(tokens) => self.take_back(core, tokens),
            ToHome::Recalled(tokens) => {
                self.take_back(core, tokens);
                self.unanswered[core] = false;
            }
        }
        self.settle(post);
    }

    /// Tokens that are not at home.
    pub fn lent(&self) -> u32 {
        self.lent.iter().sum()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn take_back(&mut self, core: usize, tokens: u32) {
        debug_assert!(self.lent[core] >= tokens, "a core returns what it was lent");
        self.lent[core] = self.lent[core].saturating_sub(tokens);
    }

    fn settle(&mut self, post: &mut Vec<(usize, ToCore)>) {
        while self.free() > 0
            && let Some((core, want)) = self.queue.pop_front()
        {
            let tokens = self.batch();
            self.lent[core] += tokens;
            post.push((core, ToCore::Grant { want, tokens }));
        }
        if !self.queue.is_empty() {
            self.recall(post);
        }
        self.refuse(post);
        self.relax(post);
    }

    fn free(&self) -> u32 {
        // A limit that was lowered may be below what is lent.
        self.limit.saturating_sub(self.lent())
    }

    fn batch(&self) -> u32 {
        match self.scarce {
            true => 1,
            // Each core gets a fraction of what is left, so that the last tokens are not idle where nobody asks.
            false => (self.free() / (4 * self.lent.len() as u32)).clamp(1, BATCH_MAX),
        }
    }

    fn recall(&mut self, post: &mut Vec<(usize, ToCore)>) {
        if !self.scarce {
            self.scarce = true;
            self.unanswered.fill(true);
            post.extend((0..self.lent.len()).map(|core| (core, ToCore::Recall)));
        }
    }

    fn refuse(&mut self, post: &mut Vec<(usize, ToCore)>) {
        // Until all have answered, any token that is lent may come back idle.
        let coming = if self.unanswered.contains(&true) { self.lent() } else { 0 };
        while self.queue.len() as u64 > u64::from(self.pending_max) + u64::from(coming) {
            let (core, want) =
                self.queue.pop_back().expect("it is longer than a number that is not negative");
            post.push((core, ToCore::Refuse(want)));
        }
    }

    fn relax(&mut self, post: &mut Vec<(usize, ToCore)>) {
        let enough = match self.quantity {
            // Where the limit is small, every token is asked for each time: three messages instead of a recall.
            Quantity::Requests => (self.limit / 4).max(2 * self.lent.len() as u32),
            Quantity::Connections => 0,
        };
        if self.scarce && self.queue.is_empty() && !self.unanswered.contains(&true) && self.free() >= enough {
            self.scarce = false;
            post.extend((0..self.lent.len()).map(|core| (core, ToCore::Relax)));
        }
    }
}

/// The answer to [`TokenPurse::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Take {
    /// Go on; [`TokenPurse::release`] when it is over.
    Spent,
    /// Wait until this is granted or refused, or [`TokenPurse::cancel`] it.
    Wait(WantId),
}

/// What becomes of a connection whose exchange ended cleanly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Freed {
    /// Keep it for later, with its token.
    Keep,
    /// Hand it over to this wait, with its token.
    Hand(WantId),
    /// Others wait for its place: close it, then [`TokenPurse::release`].
    Close,
}

/// What a message from home means for those who wait on this core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Go on; [`TokenPurse::release`] when it is over.
    Granted(WantId),
    /// Answer 503 with flag UO.
    Refused(WantId),
    /// Others wait: close idle connections, and [`TokenPurse::release`] each.
    CloseIdle,
}

/// A core's share of a limit's tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenPurse {
    /// Never with a waiter: a token that is there is given to who waits.
    idle: u32,
    spent: u32,
    waiting: VecDeque<WantId>,
    wants: u64,
    recalled: bool,
    handovers: u32,
    /// The fewest idle tokens since the last tick: these were not needed.
    unneeded: u32,
}

impl TokenPurse {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a token.
    pub fn take(&mut self, post: &mut Vec<ToHome>) -> Take {
        if self.idle > 0 {
            self.idle -= 1;
            self.unneeded = self.unneeded.min(self.idle);
            self.spent += 1;
            return Take::Spent;
        }
        let want = WantId(self.wants);
        self.wants += 1;
        self.waiting.push_back(want);
        post.push(ToHome::Want(want));
        Take::Wait(want)
    }

    /// Gives up waiting; says whether it was still waiting. If it was not, it has been told, and a granted token is its to release.
    pub fn cancel(&mut self, want: WantId, post: &mut Vec<ToHome>) -> bool {
        let waited = self.stop_waiting(want);
        if waited {
            post.push(ToHome::Withdraw(want));
        }
        waited
    }

    /// Frees a spent token. It may go to a wait on this core, which goes on with it.
    #[must_use = "the wait must be told that it was granted"]
    pub fn release(&mut self, post: &mut Vec<ToHome>) -> Option<WantId> {
        if let Some(want) = self.heir(post) {
            return Some(want);
        }
        debug_assert!(self.spent > 0, "a token is freed once, after it was spent");
        self.spent = self.spent.saturating_sub(1);
        self.handovers = 0;
        if self.recalled {
            post.push(ToHome::Return(1));
        } else {
            self.idle += 1;
        }
        None
    }

    /// What becomes of a connection that could be used again; its token stays spent.
    pub fn freed(&mut self, post: &mut Vec<ToHome>) -> Freed {
        match self.heir(post) {
            Some(want) => Freed::Hand(want),
            None if self.recalled => Freed::Close,
            None => Freed::Keep,
        }
    }

    /// Takes in what the home says.
    pub fn heard(&mut self, message: ToCore, told: &mut Vec<Told>, post: &mut Vec<ToHome>) {
        match message {
            ToCore::Grant { want, tokens } => {
                let mut rest = tokens;
                if self.stop_waiting(want) {
                    rest -= 1;
                    self.spent += 1;
                    told.push(Told::Granted(want));
                }
                self.keep(rest, told, post);
            }
            ToCore::Refuse(want) => {
                if self.stop_waiting(want) {
                    told.push(Told::Refused(want));
                }
            }
            ToCore::Recall => {
                self.recalled = true;
                post.push(ToHome::Recalled(std::mem::take(&mut self.idle)));
                self.unneeded = 0;
                told.push(Told::CloseIdle);
            }
            ToCore::Relax => {
                self.recalled = false;
                self.handovers = 0;
            }
        }
    }

    /// Returns the tokens that were idle ever since the last tick. To be called about once a second.
    pub fn tick(&mut self, post: &mut Vec<ToHome>) {
        if self.unneeded > 0 {
            self.idle -= self.unneeded;
            post.push(ToHome::Return(self.unneeded));
        }
        self.unneeded = self.idle;
    }

    /// Tokens in use on this core.
    pub fn spent(&self) -> u32 {
        self.spent
    }

    /// How many wait on this core.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether `tick` may have something to return.
    pub fn is_idle(&self) -> bool {
        self.idle == 0 && self.unneeded == 0
    }

    /// The wait of this core that a freed token goes to, if it need not go home.
    fn heir(&mut self, post: &mut Vec<ToHome>) -> Option<WantId> {
        if self.recalled && self.handovers >= HANDOVERS_MAX {
            return None;
        }
        let want = self.waiting.pop_front()?;
        self.handovers += u32::from(self.recalled);
        post.push(ToHome::Withdraw(want));
        Some(want)
    }

    /// Tokens that nobody asked for, or not any more.
    fn keep(&mut self, mut tokens: u32, told: &mut Vec<Told>, post: &mut Vec<ToHome>) {
        if self.recalled {
            if tokens > 0 {
                post.push(ToHome::Return(tokens));
            }
            return;
        }
        while tokens > 0
            && let Some(want) = self.waiting.pop_front()
        {
            tokens -= 1;
            self.spent += 1;
            post.push(ToHome::Withdraw(want));
            told.push(Told::Granted(want));
        }
        self.idle += tokens;
    }

    fn stop_waiting(&mut self, want: WantId) -> bool {
        // Ids grow, so the queue is sorted.
        let found = self.waiting.binary_search(&want);
        found.map(|place| self.waiting.remove(place)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashSet;
    use std::hash::{DefaultHasher, Hash, Hasher};

    use proptest::prelude::*;

    /// Cores, home and the messages between them, each pair in order and as slow as the test likes.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Model {
        home: TokenHome,
        purses: Vec<TokenPurse>,
        to_home: Vec<VecDeque<ToHome>>,
        to_core: Vec<VecDeque<ToCore>>,
        /// The largest limit since everything lent under it came back.
        limit: u32,
        /// Idle connections of each core, which keep their token.
        pooled: Vec<u32>,
        takes_left: Vec<u32>,
        refused: u32,
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Take,
        Release,
        Pool,
        CancelOldest,
        CancelNewest,
        Tick,
        HomeHears,
        CoreHears,
    }

    const ACTS: [Act; 8] = [
        Act::Take,
        Act::Release,
        Act::Pool,
        Act::CancelOldest,
        Act::CancelNewest,
        Act::Tick,
        Act::HomeHears,
        Act::CoreHears,
    ];

    impl Model {
        fn new(quantity: Quantity, limit: u32, pending_max: u32, cores: usize, takes: u32) -> Self {
            Self {
                home: TokenHome::new(quantity, limit, Some(pending_max), cores),
                purses: vec![TokenPurse::new(); cores],
                to_home: vec![VecDeque::new(); cores],
                to_core: vec![VecDeque::new(); cores],
                limit,
                pooled: vec![0; cores],
                takes_left: vec![takes; cores],
                refused: 0,
            }
        }

        /// Does it, or says that it cannot be done now.
        fn act(&mut self, core: usize, act: Act) -> bool {
            let mut to_home = Vec::new();
            let mut to_cores = Vec::new();
            let mut told = Vec::new();
            let purse = &mut self.purses[core];
            let busy = purse.spent - self.pooled[core];
            match act {
                Act::Take if self.takes_left[core] > 0 => {
                    self.takes_left[core] -= 1;
                    if self.pooled[core] > 0 {
                        self.pooled[core] -= 1;
                    } else {
                        let _ = purse.take(&mut to_home);
                    }
                }
                Act::Release if busy > 0 => {
                    let _ = purse.release(&mut to_home);
                }
                Act::Pool if busy > 0 && self.home.quantity == Quantity::Connections => {
                    match purse.freed(&mut to_home) {
                        Freed::Keep => self.pooled[core] += 1,
                        Freed::Hand(_) => {}
                        Freed::Close => {
                            let _ = purse.release(&mut to_home);
                        }
                    }
                }
                Act::CancelOldest | Act::CancelNewest
                    if purse.waiting.len() > usize::from(matches!(act, Act::CancelNewest)) =>
                {
                    let index = if matches!(act, Act::CancelOldest) { 0 } else { purse.waiting.len() - 1 };
                    let want = purse.waiting[index];
                    assert!(purse.cancel(want, &mut to_home));
                }
                Act::Tick if !purse.is_idle() => purse.tick(&mut to_home),
                Act::HomeHears if !self.to_home[core].is_empty() => {
                    let message = self.to_home[core].pop_front().expect("it is not empty");
                    self.home.heard(core, message, &mut to_cores);
                }
                Act::CoreHears if !self.to_core[core].is_empty() => {
                    let message = self.to_core[core].pop_front().expect("it is not empty");
                    purse.heard(message, &mut told, &mut to_home);
                    for told in told {
                        match told {
                            Told::Granted(_) => {}
                            Told::Refused(_) => self.refused += 1,
                            Told::CloseIdle => {
                                for _ in 0..std::mem::take(&mut self.pooled[core]) {
                                    let _ = purse.release(&mut to_home);
                                }
                            }
                        }
                    }
                }
                _ => return false,
            }
            self.to_home[core].extend(to_home);
            for (core, message) in to_cores {
                self.to_core[core].push_back(message);
            }
            self.check();
            true
        }

        fn adopt(&mut self, limit: u32) {
            let mut to_cores = Vec::new();
            let pending_max = Some(self.home.pending_max);
            self.home.adopt(limit, pending_max, &mut to_cores);
            for (core, message) in to_cores {
                self.to_core[core].push_back(message);
            }
            self.limit = self.home.lent().max(limit);
        }

        fn check(&self) {
            let spent: u32 = self.purses.iter().map(|purse| purse.spent).sum();
            assert!(spent <= self.limit, "{spent} are in use, {} are allowed", self.limit);
            assert!(self.home.lent() <= self.limit);
            for (core, purse) in self.purses.iter().enumerate() {
                let granted = self.to_core[core].iter().map(|message| match message {
                    ToCore::Grant { tokens, .. } => *tokens,
                    _ => 0,
                });
                let returned = self.to_home[core].iter().map(|message| match message {
                    ToHome::Return(tokens) | ToHome::Recalled(tokens) => *tokens,
                    _ => 0,
                });
                let held = purse.spent + purse.idle + granted.sum::<u32>() + returned.sum::<u32>();
                assert_eq!(held, self.home.lent[core], "no token is lost or made: {self:?}");
                assert!(purse.idle == 0 || purse.waiting.is_empty());
                assert!(purse.unneeded <= purse.idle);
            }
            if self.is_quiet() {
                self.check_quiet();
            }
        }

        fn is_quiet(&self) -> bool {
            self.to_home.iter().all(VecDeque::is_empty) && self.to_core.iter().all(VecDeque::is_empty)
        }

        /// With no message under way, whoever waits is known at home and waits for tokens that are in use.
        fn check_quiet(&self) {
            let waiting: usize = self.purses.iter().map(|purse| purse.waiting.len()).sum();
            assert_eq!(waiting, self.home.queue.len(), "{self:?}");
            assert!(self.home.queue.len() <= self.home.pending_max as usize);
            if waiting > 0 {
                assert_eq!(self.home.free(), 0, "{self:?}");
                assert!(self.purses.iter().all(|purse| purse.idle == 0), "{self:?}");
                assert!(self.pooled.iter().all(|pooled| *pooled == 0), "{self:?}");
            }
        }

        fn deliver_all(&mut self) {
            while (0..self.purses.len())
                .any(|core| self.act(core, Act::HomeHears) || self.act(core, Act::CoreHears))
            {}
        }

        /// Ends everything that runs, until nobody waits.
        fn finish(&mut self) {
            self.deliver_all();
            for _ in 0..10_000 {
                let Some(core) = (0..self.purses.len()).find(|core| self.act(*core, Act::Release)) else {
                    break;
                };
                self.deliver_all();
                assert!(core < self.purses.len());
            }
            let waiting: usize = self.purses.iter().map(|purse| purse.waiting.len()).sum();
            assert_eq!(waiting, 0, "everybody who waited got a token: {self:?}");
        }
    }

    /// Every order of events and messages of a small process.
    fn explore(start: Model) -> usize {
        // Digests instead of states: two of 10^5 states share one with a chance of 10^-9.
        let digest = |model: &Model| {
            let mut hasher = DefaultHasher::new();
            model.hash(&mut hasher);
            hasher.finish()
        };
        let mut seen = HashSet::from([digest(&start)]);
        let mut open = vec![start];
        while let Some(model) = open.pop() {
            let mut ended = true;
            for core in 0..model.purses.len() {
                for act in ACTS {
                    let mut next = model.clone();
                    if next.act(core, act) {
                        ended &= matches!(act, Act::Pool);
                        if seen.insert(digest(&next)) {
                            open.push(next);
                        }
                    }
                }
            }
            if ended {
                assert!(model.purses.iter().all(|purse| purse.waiting.is_empty()), "{model:?}");
            }
        }
        seen.len()
    }

    #[test]
    fn one_token_on_two_cores_is_one_in_every_order_of_events() {
        for quantity in [Quantity::Requests, Quantity::Connections] {
            for pending_max in [0, 1] {
                // The second core begins once only: the cores are alike, and each further request multiplies the states by ten.
                let start = Model { takes_left: vec![2, 1], ..Model::new(quantity, 1, pending_max, 2, 0) };
                let states = explore(start);
                assert!(states > 500, "{states}");
            }
        }
    }

    #[test]
    fn two_tokens_on_three_cores_are_two_in_every_order_of_events() {
        let states = explore(Model::new(Quantity::Requests, 2, 1, 3, 1));
        assert!(states > 500, "{states}");
    }

    proptest! {
        #[test]
        fn no_order_of_events_exceeds_a_limit_loses_a_token_or_starves_a_waiter(
            limit in 1u32..200,
            pending_max in prop_oneof![Just(0u32), 1u32..8, Just(10_000)],
            cores in 1usize..5,
            connections in any::<bool>(),
            acts in proptest::collection::vec((0usize..8, 0usize..5), 0..600),
            lowered in proptest::option::of((0usize..600, 0u32..200)),
        ) {
            let quantity = if connections { Quantity::Connections } else { Quantity::Requests };
            let mut model = Model::new(quantity, limit, pending_max, cores, 1_000);
            for (step, (act, core)) in acts.into_iter().enumerate() {
                if let Some((at, limit)) = lowered && at == step {
                    model.adopt(limit.max(1));
                }
                model.act(core % cores, ACTS[act]);
            }
            model.finish();
        }
    }

    #[test]
    fn quiet_times_need_few_messages() {
        let mut model = Model::new(Quantity::Requests, 1024, 0, 4, u32::MAX);
        let mut messages = 0;
        for request in 0..10_000 {
            let core = request % 4;
            model.act(core, Act::Take);
            messages += model.to_home[core].len();
            model.deliver_all();
            model.act(core, Act::Release);
            messages += model.to_home[core].len();
            model.deliver_all();
        }
        assert_eq!((messages, model.refused), (4, 0), "each core asks once");
    }

    #[test]
    fn idle_tokens_come_home_with_two_ticks() {
        let mut model = Model::new(Quantity::Requests, 1024, 0, 4, u32::MAX);
        model.act(0, Act::Take);
        model.deliver_all();
        model.act(0, Act::Release);
        assert!(model.home.lent() > 1);
        for _ in 0..2 {
            model.act(0, Act::Tick);
            model.deliver_all();
        }
        assert_eq!(model.home.lent(), 0);
    }

    #[test]
    fn tokens_that_are_idle_elsewhere_are_found_before_anyone_is_refused() {
        let mut model = Model::new(Quantity::Requests, 2, 0, 2, u32::MAX);
        for _ in 0..2 {
            model.act(0, Act::Take);
            model.deliver_all();
        }
        model.act(0, Act::Release);
        model.act(0, Act::Release);
        model.act(1, Act::Take);
        model.deliver_all();
        assert_eq!((model.purses[1].spent, model.refused), (1, 0));
        model.act(0, Act::Take);
        model.act(0, Act::Take);
        model.deliver_all();
        assert_eq!((model.purses[0].spent, model.refused), (1, 1), "the third is too many");
    }

    #[test]
    fn whoever_waited_longest_is_served_first_over_all_cores() {
        let mut model = Model::new(Quantity::Requests, 1, 8, 3, u32::MAX);
        model.act(0, Act::Take);
        model.deliver_all();
        for core in [2, 1, 2] {
            model.act(core, Act::Take);
            model.deliver_all();
        }
        let mut served = Vec::new();
        let mut running = 0;
        for _ in 0..3 {
            // The core that runs gives its token back; its own waiters have to stand in line with the others.
            model.purses[running].handovers = HANDOVERS_MAX;
            model.act(running, Act::Release);
            model.deliver_all();
            running = (0..3).find(|core| model.purses[*core].spent == 1).expect("one of them runs");
            served.push(running);
        }
        assert_eq!(served, [2, 1, 2]);
    }

    #[test]
    fn a_core_with_its_own_waiters_passes_others_over_only_so_often() {
        let mut model = Model::new(Quantity::Connections, 1, 1_000, 2, u32::MAX);
        model.act(0, Act::Take);
        model.deliver_all();
        model.act(1, Act::Take);
        model.deliver_all();
        for _ in 0..100 {
            model.act(0, Act::Take);
        }
        model.deliver_all();
        let mut passed_over = 0;
        while model.purses[1].spent == 0 {
            passed_over += 1;
            assert!(passed_over < 100);
            model.act(0, Act::Pool);
            model.deliver_all();
        }
        assert!(passed_over <= HANDOVERS_MAX + 1, "{passed_over}");
    }

    #[test]
    fn an_idle_connection_of_another_core_makes_room() {
        let mut model = Model::new(Quantity::Connections, 1, 4, 2, u32::MAX);
        model.act(0, Act::Take);
        model.deliver_all();
        model.act(0, Act::Pool);
        assert_eq!(model.pooled, [1, 0]);
        model.act(1, Act::Take);
        model.deliver_all();
        assert_eq!((model.pooled[0], model.purses[0].spent, model.purses[1].spent), (0, 0, 1));
        model.act(1, Act::Pool);
        assert_eq!(model.pooled, [0, 1], "nobody waits, so it is kept");
    }
}
