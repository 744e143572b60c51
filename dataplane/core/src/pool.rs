//! Keeps upstream connections of one endpoint on one core for the next request.
//!
//! [`Pool`] is for connections that carry one exchange at a time (HTTP/1.1): the last one back is the first one out, so
//! that the others can grow old and go. [`SharedPool`] is for connections that carry many (HTTP/2). Neither ever closes a
//! connection itself: what must be closed is handed to the caller. The numbers come from [`limits`](crate::limits).

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::time::Instant;

/// Proof that the last response was read to its end and nothing of ours is left unsent. Only the codec creates one.
#[derive(Debug)]
pub struct CleanEnd(());

impl CleanEnd {
    /// For the codec, when it has seen the end of both messages and neither side asked to close.
    pub(crate) fn proven() -> Self {
        Self(())
    }
}

/// How many idle connections are kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// More than these: the oldest is closed.
    pub idle_max: usize,
    /// Idle for longer: closed.
    pub idle_age_max: Duration,
}

/// Idle connections to one endpoint that carry one exchange at a time.
#[derive(Debug)]
pub struct Pool<C> {
    limits: PoolLimits,
    /// Oldest first.
    idle: VecDeque<Idle<C>>,
    /// The endpoint is gone: nothing is kept any more.
    drained: bool,
}

#[derive(Debug)]
struct Idle<C> {
    conn: C,
    exchanges: u64,
    since: Instant,
}

/// A connection on loan. Dropping it closes it; only a cleanly ended response may return it.
#[derive(Debug)]
pub struct Lease<C> {
    conn: C,
    /// Exchanges that ended on it.
    exchanges: u64,
}

impl<C> Lease<C> {
    /// A connection that was just made.
    pub fn fresh(conn: C) -> Self {
        Self { conn, exchanges: 0 }
    }

    /// Whether it has served before: then its server may have closed it while it was idle, which is no fault of the request
    /// ([`Evidence::Unanswered`](crate::Evidence::Unanswered)).
    pub fn reused(&self) -> bool {
        self.exchanges > 0
    }

    /// Exchanges that ended on it before this one.
    pub fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// Takes the connection out for good: for a tunnel.
    pub fn into_inner(self) -> C {
        self.conn
    }

    /// Returns the connection. What comes back is to be closed: the oldest idle one when there are too many, or this one when
    /// its endpoint is gone.
    #[must_use = "what is not kept must be closed"]
    pub fn give_back(self, _proof: CleanEnd, pool: &mut Pool<C>, now: Instant) -> Option<C> {
        if pool.drained || pool.limits.idle_max == 0 {
            return Some(self.conn);
        }
        let oldest = (pool.idle.len() >= pool.limits.idle_max).then(|| pool.idle.pop_front()).flatten();
        pool.idle.push_back(Idle { conn: self.conn, exchanges: self.exchanges + 1, since: now });
        oldest.map(|idle| idle.conn)
    }

    /// Hands the connection over to another waiting exchange without a stay in the pool.
    pub fn hand_over(self, _proof: CleanEnd) -> Self {
        Self { conn: self.conn, exchanges: self.exchanges + 1 }
    }
}

impl<C> Deref for Lease<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.conn
    }
}

impl<C> DerefMut for Lease<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.conn
    }
}

impl<C> Pool<C> {
    /// Without connections.
    pub fn new(limits: PoolLimits) -> Self {
        Self { limits, idle: VecDeque::new(), drained: false }
    }

    /// The connection used last that is still `usable` (open, and nothing to read on it) and young enough. The others that were
    /// looked at are dropped, which closes them.
    pub fn take(&mut self, now: Instant, mut usable: impl FnMut(&mut C) -> bool) -> Option<Lease<C>> {
        while let Some(mut idle) = self.idle.pop_back() {
            if now.since(idle.since) < self.limits.idle_age_max && usable(&mut idle.conn) {
                return Some(Lease { conn: idle.conn, exchanges: idle.exchanges });
            }
        }
        None
    }

    /// Removes connections that have been idle too long, oldest first; the caller closes them.
    #[must_use = "the caller closes them"]
    pub fn expire(&mut self, now: Instant) -> Vec<C> {
        let fresh = self.idle.iter().position(|idle| now.since(idle.since) < self.limits.idle_age_max);
        let expired = fresh.unwrap_or(self.idle.len());
        self.idle.drain(..expired).map(|idle| idle.conn).collect()
    }

    /// When `expire` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.idle.front().map(|idle| idle.since + self.limits.idle_age_max)
    }

    /// Removes the connection that has been idle longest: another core needs its place.
    #[must_use = "the caller closes it"]
    pub fn yield_oldest(&mut self) -> Option<C> {
        self.idle.pop_front().map(|idle| idle.conn)
    }

    /// The endpoint is gone: gives up all idle connections and keeps none that comes back later.
    #[must_use = "the caller closes them"]
    pub fn drain(&mut self) -> Vec<C> {
        self.drained = true;
        self.idle.drain(..).map(|idle| idle.conn).collect()
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.idle.len()
    }

    /// Whether none is idle.
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }
}

/// A connection of a [`SharedPool`]. Never names another one later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedId(u64);

/// A stream's place on a shared connection; give it back with [`SharedPool::ended`].
#[derive(Debug)]
#[must_use = "the stream counts until it is given back"]
pub struct Stream<C> {
    /// The connection's handle.
    pub conn: C,
    /// Which connection.
    pub id: SharedId,
    /// Whether it has served before.
    pub reused: bool,
}

/// Connections to one endpoint that carry many exchanges at a time.
#[derive(Debug)]
pub struct SharedPool<C> {
    limits: PoolLimits,
    conns: Vec<Shared<C>>,
    named: u64,
    drained: bool,
}

#[derive(Debug)]
struct Shared<C> {
    id: SharedId,
    conn: C,
    streams: u32,
    streams_max: u32,
    /// Streams that ended on it.
    ended: u64,
    /// It takes no further stream (GOAWAY, or an error) and goes with its last one.
    closing: bool,
    idle_since: Instant,
}

impl<C: Clone> SharedPool<C> {
    /// Without connections.
    pub fn new(limits: PoolLimits) -> Self {
        Self { limits, conns: Vec::new(), named: 0, drained: false }
    }

    /// Adds a connection that was just made, able to carry this many streams, with a first stream begun on it: whoever
    /// made it can use it, even if nobody after.
    pub fn add(&mut self, conn: C, streams_max: u32, now: Instant) -> Stream<C> {
        let id = SharedId(self.named);
        self.named += 1;
        let first = Stream { conn: conn.clone(), id, reused: false };
        let closing = self.drained;
        self.conns.push(Shared { id, conn, streams: 1, streams_max, ended: 0, closing, idle_since: now });
        first
    }

    /// Begins a stream on the fullest connection with room, so that the others can empty and go. `None`: make one.
    ///
    /// `room`: how many streams the peer allows on a connection today.
    pub fn begin(&mut self, room: impl Fn(&C) -> u32) -> Option<Stream<C>> {
        let open = self
            .conns
            .iter_mut()
            .filter(|conn| !conn.closing && conn.streams < conn.streams_max.min(room(&conn.conn)));
        let conn = open.max_by_key(|conn| conn.streams)?;
        conn.streams += 1;
        Some(Stream { conn: conn.conn.clone(), id: conn.id, reused: conn.ended > 0 })
    }

    /// A stream ended. A connection that comes back is to be closed.
    #[must_use = "the caller closes it"]
    pub fn ended(&mut self, id: SharedId, now: Instant) -> Option<C> {
        let index = self.index(id)?;
        let conn = &mut self.conns[index];
        debug_assert!(conn.streams > 0, "a stream ends once, after it began");
        conn.streams = conn.streams.saturating_sub(1);
        conn.ended += 1;
        conn.idle_since = now;
        (conn.closing && conn.streams == 0).then(|| self.conns.swap_remove(index).conn)
    }

    /// The endpoint changed how many streams a connection may carry.
    pub fn resize(&mut self, id: SharedId, streams_max: u32) {
        if let Some(index) = self.index(id) {
            self.conns[index].streams_max = streams_max;
        }
    }

    /// A connection takes no further stream. It comes back, now or with its last stream, to be closed.
    #[must_use = "the caller closes it"]
    pub fn retire(&mut self, id: SharedId) -> Option<C> {
        let index = self.index(id)?;
        self.conns[index].closing = true;
        (self.conns[index].streams == 0).then(|| self.conns.swap_remove(index).conn)
    }

    /// Removes connections that have carried no stream for too long; the caller closes them.
    #[must_use = "the caller closes them"]
    pub fn expire(&mut self, now: Instant) -> Vec<C> {
        let idle_age_max = self.limits.idle_age_max;
        self.remove_idle(|conn| now.since(conn.idle_since) >= idle_age_max)
    }

    /// Removes a connection without streams, if there is one: another core needs its place.
    #[must_use = "the caller closes it"]
    pub fn yield_oldest(&mut self) -> Option<C> {
        let idle = self.conns.iter().enumerate().filter(|(_, conn)| conn.streams == 0);
        let (index, _) = idle.min_by_key(|(_, conn)| conn.idle_since)?;
        Some(self.conns.swap_remove(index).conn)
    }

    /// When `expire` may have something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let idle = self.conns.iter().filter(|conn| conn.streams == 0);
        idle.map(|conn| conn.idle_since + self.limits.idle_age_max).min()
    }

    /// No connection of today takes a further stream, since they were made for another configuration; those without
    /// streams come back to be closed.
    #[must_use = "the caller closes them"]
    pub fn close_all(&mut self) -> Vec<C> {
        for conn in &mut self.conns {
            conn.closing = true;
        }
        self.remove_idle(|_| true)
    }

    /// The endpoint is gone: no connection takes a further stream; those without streams come back to be closed.
    #[must_use = "the caller closes them"]
    pub fn drain(&mut self) -> Vec<C> {
        self.drained = true;
        self.close_all()
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// Streams under way.
    pub fn streams(&self) -> u32 {
        self.conns.iter().map(|conn| conn.streams).sum()
    }

    fn index(&self, id: SharedId) -> Option<usize> {
        self.conns.iter().position(|conn| conn.id == id)
    }

    fn remove_idle(&mut self, also: impl Fn(&Shared<C>) -> bool) -> Vec<C> {
        let idle = self.conns.extract_if(.., |conn| conn.streams == 0 && also(conn));
        idle.map(|shared| shared.conn).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PoolLimits = PoolLimits { idle_max: 2, idle_age_max: Duration::from_secs(50) };

    fn at(seconds: u64) -> Instant {
        Instant::after_origin(Duration::from_secs(seconds))
    }

    fn pool(conns: &[(&'static str, u64)]) -> Pool<&'static str> {
        let mut pool = Pool::new(LIMITS);
        for (conn, since) in conns {
            assert_eq!(Lease::fresh(*conn).give_back(CleanEnd::proven(), &mut pool, at(*since)), None);
        }
        pool
    }

    #[test]
    fn the_last_one_back_is_the_first_one_out() {
        let mut pool = pool(&[("a", 0), ("b", 1)]);
        let lease = pool.take(at(2), |_| true).expect("two are idle");
        assert_eq!((*lease, lease.reused()), ("b", true));
        assert_eq!(pool.take(at(2), |_| true).map(Lease::into_inner), Some("a"));
        assert!(pool.take(at(2), |_| true).is_none());
    }

    #[test]
    fn a_lease_counts_its_exchanges() {
        let mut pool = pool(&[]);
        let mut lease = Lease::fresh("a");
        assert!(!lease.reused());
        for count in 1..=3 {
            assert_eq!(lease.give_back(CleanEnd::proven(), &mut pool, at(0)), None);
            lease = pool.take(at(0), |_| true).expect("it was given back");
            assert_eq!(lease.exchanges(), count);
        }
        assert_eq!(lease.hand_over(CleanEnd::proven()).exchanges(), 4);
    }

    #[test]
    fn a_full_pool_gives_up_the_oldest() {
        let mut pool = pool(&[("a", 0), ("b", 1)]);
        assert_eq!(Lease::fresh("c").give_back(CleanEnd::proven(), &mut pool, at(2)), Some("a"));
        assert_eq!(pool.len(), 2);
        assert_eq!(pool.yield_oldest(), Some("b"));
    }

    #[test]
    fn a_pool_for_none_keeps_none() {
        let mut pool = Pool::new(PoolLimits { idle_max: 0, ..LIMITS });
        assert_eq!(Lease::fresh("a").give_back(CleanEnd::proven(), &mut pool, at(0)), Some("a"));
    }

    #[test]
    fn old_connections_expire_and_are_never_lent() {
        let mut pool = pool(&[("a", 0), ("b", 10)]);
        assert_eq!(pool.deadline(), Some(at(50)));
        assert_eq!(pool.expire(at(49)), [""; 0]);
        assert_eq!(pool.expire(at(50)), ["a"]);
        assert!(pool.take(at(60), |_| true).is_none());
        assert!(pool.is_empty());
    }

    #[test]
    fn unusable_connections_are_passed_over() {
        let mut pool = pool(&[("good", 0), ("closed", 1)]);
        let lease = pool.take(at(2), |conn| *conn == "good").expect("one is good");
        assert_eq!((*lease, pool.len()), ("good", 0));
    }

    #[test]
    fn a_drained_pool_keeps_nothing() {
        let mut pool = pool(&[("a", 0), ("b", 1)]);
        assert_eq!(pool.drain(), ["a", "b"]);
        assert_eq!(Lease::fresh("c").give_back(CleanEnd::proven(), &mut pool, at(2)), Some("c"));
    }

    #[test]
    fn streams_fill_a_connection_before_the_next() {
        let any = |_: &&str| u32::MAX;
        let mut pool = SharedPool::new(LIMITS);
        assert!(pool.begin(any).is_none());
        let a = pool.add("a", 2, at(0)).id;
        let b = pool.add("b", 2, at(0)).id;
        let first = pool.begin(any).expect("room for two").id;
        let other = if first == a { b } else { a };
        assert_eq!(pool.begin(any).map(|stream| stream.id), Some(other));
        assert!(pool.begin(any).is_none(), "both are full");
        assert_eq!(pool.ended(first, at(1)), None);
        let again = pool.begin(any).expect("one ended");
        assert_eq!((again.id, again.reused), (first, true));
        pool.resize(other, 3);
        assert_eq!(pool.begin(any).map(|stream| stream.id), Some(other));
        assert_eq!(pool.streams(), 5);
    }

    #[test]
    fn a_peer_that_allows_less_gets_less() {
        let mut pool = SharedPool::new(LIMITS);
        let _first = pool.add("a", 100, at(0));
        assert!(pool.begin(|_| 1).is_none());
        assert!(pool.begin(|_| 2).is_some());
    }

    #[test]
    fn whoever_connects_to_an_endpoint_that_is_going_has_a_stream_and_is_the_last() {
        let mut pool = SharedPool::new(LIMITS);
        assert!(pool.drain().is_empty());
        let only = pool.add("a", 100, at(0));
        assert!(pool.begin(|_| u32::MAX).is_none());
        assert_eq!(pool.ended(only.id, at(1)), Some("a"));
    }

    #[test]
    fn a_retired_connection_goes_with_its_last_stream() {
        let mut pool = SharedPool::new(LIMITS);
        let a = pool.add("a", 10, at(0)).id;
        let _stream = pool.begin(|_| u32::MAX).expect("room");
        assert_eq!(pool.retire(a), None);
        assert!(pool.begin(|_| u32::MAX).is_none());
        assert_eq!(pool.ended(a, at(1)), None);
        assert_eq!(pool.ended(a, at(1)), Some("a"));
        assert_eq!(pool.ended(a, at(1)), None, "it is forgotten");
        assert!(pool.is_empty());
    }

    #[test]
    fn only_connections_without_streams_expire_or_are_given_up() {
        let mut pool = SharedPool::new(LIMITS);
        let busy = pool.add("busy", 1, at(0)).id;
        let idle = pool.add("idle", 1, at(4)).id;
        assert_eq!(pool.ended(idle, at(5)), None);
        assert_eq!(pool.expire(at(54)), [""; 0]);
        assert_eq!(pool.deadline(), Some(at(55)));
        assert_eq!(pool.expire(at(55)), ["idle"]);
        assert_eq!((pool.deadline(), pool.yield_oldest()), (None, None));
        assert_eq!(pool.drain(), [""; 0]);
        assert_eq!(pool.ended(busy, at(60)), Some("busy"));
    }
}
