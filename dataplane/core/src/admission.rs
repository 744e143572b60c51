//! What may begin: limits that hold for the whole process although no core looks into another's memory.
//!
//! Each limited quantity has a home core. [`tokens`]: connections of the process and connections and requests of a cluster are tokens
//! that the home lends to the cores; without a token nothing begins. [`clients`]: connections of one client address are
//! counted where they are, and at the address's home once they are many. All are state machines: messages in,
//! messages out; the proxy carries them, in order, and waits for verdicts. A limit of 1 with 4 cores is 1.

pub mod clients;
pub mod tokens;

pub use clients::{ClientHome, Clients};
pub use tokens::{TokenHome, TokenPurse};

use std::hash::Hasher;

/// The core that is home to what has this name: a cluster's key, or a client's address.
pub fn home_of(name: &(impl std::hash::Hash + ?Sized), cores: usize) -> usize {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    name.hash(&mut hasher);
    // FNV leaves the differences of last bytes in its low bits; multiplying brings them to the high ones.
    let spread = hasher.finish().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((spread >> 32) % cores.max(1) as u64) as usize
}

/// FNV-1a. Only spreads homes over cores; a client that chooses its address can at most choose which core counts it.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::Ipv4Addr;

    #[test]
    fn homes_are_spread_and_everywhere_the_same() {
        let mut counts = [0; 4];
        for number in 0..4000u32 {
            let home = home_of(&Ipv4Addr::from_bits(0x0a00_0000 + number), 4);
            assert_eq!(home, home_of(&Ipv4Addr::from_bits(0x0a00_0000 + number), 4));
            counts[home] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!(home_of("Service/default/shop/80", 1), 0);
    }
}
