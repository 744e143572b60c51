//! Session tickets of one listener: keys that every core shares, renewed twice a day.
//!
//! A ticket holds all of a session (stateless), sealed with AES-256-GCM-SIV, which forgives a repeated random nonce. A
//! set of keys belongs to one (listener, certificates, client validation): a ticket of one listener never opens
//! another, and none outlives a change of who may connect. Keys are drawn when first needed and never written down.

use std::sync::{RwLock, RwLockReadGuard};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;

use super::Clock;

/// How long a key seals. It opens for as long again, so that no ticket is useless right after it was given.
const ROTATION_SECONDS: u64 = 12 * 3600;
/// Names the key that sealed a ticket: drawn, so that it tells an observer nothing.
const NAME_BYTES: usize = 16;

/// The ticket keys of one listener.
#[derive(Debug)]
pub(super) struct Tickets {
    clock: Clock,
    // Taken for reading once a handshake, and for writing twice a day. A core that panicked while it wrote costs
    // resumption, not connections.
    keys: RwLock<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    current: Option<Key>,
    previous: Option<Key>,
}

#[derive(Debug)]
struct Key {
    name: [u8; NAME_BYTES],
    sealing: RandomizedNonceKey,
    since: u64,
}

impl Tickets {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, keys: RwLock::default() }
    }

    /// Forgets keys that are over; else an unused listener would keep them for as long as it is unused.
    pub(super) fn expire(&self) {
        let now = self.now();
        let over = |key: &Option<Key>| key.as_ref().is_some_and(|key| key.age(now) >= ROTATION_SECONDS);
        let Ok(mut keys) = self.keys.write() else { return };
        if over(&keys.current) {
            keys.previous = keys.current.take();
        }
        keys.forget_old(now);
    }

    /// The keys, with a current one that may seal now.
    fn in_force(&self) -> Option<RwLockReadGuard<'_, Keys>> {
        let now = self.now();
        let due = |keys: &Keys| keys.current.as_ref().is_none_or(|key| key.age(now) >= ROTATION_SECONDS);
        let keys = self.keys.read().ok()?;
        if !due(&keys) {
            return Some(keys);
        }
        drop(keys);
        let next = Key::draw(now)?;
        let mut keys = self.keys.write().ok()?;
        if due(&keys) {
            if let Some(replaced) = keys.current.replace(next) {
                keys.previous = Some(replaced);
            }
            keys.forget_old(now);
        }
        drop(keys);
        self.keys.read().ok()
    }

    fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }
}

#[cfg(test)]
impl Tickets {
    pub(super) fn holds_keys(&self) -> bool {
        let keys = self.keys.read().unwrap();
        keys.current.is_some() || keys.previous.is_some()
    }
}

impl Keys {
    fn forget_old(&mut self, now: u64) {
        self.previous = self.previous.take().filter(|key| key.age(now) < 2 * ROTATION_SECONDS);
    }
}

impl Key {
    fn draw(now: u64) -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME_BYTES], [0; 32]);
        aws_lc_rs::rand::fill(&mut name).ok()?;
        aws_lc_rs::rand::fill(&mut secret).ok()?;
        let sealing = RandomizedNonceKey::new(&AES_256_GCM_SIV, &secret).ok()?;
        Some(Self { name, sealing, since: now })
    }

    /// Zero while the clock runs behind the time of its making.
    fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.since)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        2 * ROTATION_SECONDS as u32
    }

    /// A ticket is: the key's name, the nonce, the sealed session with its tag.
    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let keys = self.in_force()?;
        let key = keys.current.as_ref()?;
        let mut sealed = session.to_vec();
        let nonce = key.sealing.seal_in_place_append_tag(Aad::from(key.name), &mut sealed).ok()?;
        Some([&key.name[..], nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (keys, now) = (self.in_force()?, self.now());
        let fits = |key: &&Key| key.name == *name && key.age(now) < 2 * ROTATION_SECONDS;
        let key = [&keys.current, &keys.previous].into_iter().flatten().find(fits)?;
        let mut session = sealed.to_vec();
        let opened = key.sealing.open_in_place(Nonce::from(nonce), Aad::from(name), &mut session).ok()?.len();
        session.truncate(opened);
        Some(session)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    const START: SystemTime = UNIX_EPOCH;

    fn hours(count: u64) -> SystemTime {
        START + Duration::from_secs(count * 3600)
    }

    #[test]
    fn a_ticket_opens_what_was_sealed_until_its_key_was_replaced_twice() {
        let (clock, hand) = Clock::driven(START);
        let tickets = Tickets::new(clock);
        let ticket = tickets.encrypt(b"session").unwrap();
        for (hour, opens) in [(0, true), (11, true), (12, true), (23, true), (24, false), (36, false)] {
            hand.set(hours(hour));
            assert_eq!(
                tickets.decrypt(&ticket).is_some_and(|session| session == b"session"),
                opens,
                "{hour}"
            );
        }
    }

    #[test]
    fn no_ticket_opens_after_a_day_even_if_its_key_was_replaced_late() {
        let (clock, hand) = Clock::driven(START);
        let tickets = Tickets::new(clock);
        let ticket = tickets.encrypt(b"session").unwrap();
        for (hour, opens) in [(20, true), (23, true), (24, false)] {
            hand.set(hours(hour));
            assert_eq!(tickets.decrypt(&ticket).is_some(), opens, "{hour}");
        }
    }

    #[test]
    fn the_key_changes_every_twelve_hours_and_not_in_between() {
        let (clock, hand) = Clock::driven(START);
        let tickets = Tickets::new(clock);
        let names: Vec<_> = [0, 6, 11, 12, 20, 24]
            .map(|hour| {
                hand.set(hours(hour));
                tickets.encrypt(b"").unwrap()[..NAME_BYTES].to_vec()
            })
            .to_vec();
        assert!(names[0] == names[1] && names[1] == names[2]);
        assert!(names[2] != names[3] && names[3] == names[4]);
        assert!(names[4] != names[5]);
    }

    #[test]
    fn keys_of_an_unused_listener_are_forgotten_too() {
        let (clock, hand) = Clock::driven(START);
        let tickets = Tickets::new(clock);
        let _ticket = tickets.encrypt(b"session").unwrap();
        let held = |tickets: &Tickets| {
            let keys = tickets.keys.read().unwrap();
            (keys.current.is_some(), keys.previous.is_some())
        };
        tickets.expire();
        assert_eq!(held(&tickets), (true, false));
        hand.set(hours(13));
        tickets.expire();
        assert_eq!(held(&tickets), (false, true));
        hand.set(hours(24));
        tickets.expire();
        assert_eq!(held(&tickets), (false, false));
    }

    #[test]
    fn nothing_but_an_untouched_ticket_of_the_same_set_opens() {
        let (clock, _hand) = Clock::driven(START);
        let (tickets, others) = (Tickets::new(clock.clone()), Tickets::new(clock));
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(others.decrypt(&ticket), None);
        for byte in 0..ticket.len() {
            let mut touched = ticket.clone();
            touched[byte] ^= 1;
            assert_eq!(tickets.decrypt(&touched), None, "byte {byte}");
            assert_eq!(tickets.decrypt(&ticket[..byte]), None, "cut to {byte}");
        }
    }
}
