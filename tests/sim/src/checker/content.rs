//! Bodies that follow from a number: every byte says to whom it belongs and where.

use crate::random::split_mix;

/// Which byte stream this is: no two numbers give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content(u64);

impl Content {
    /// The body of a request.
    pub fn of_request(id: u64) -> Self {
        Self(id << 1)
    }

    /// The body of an answer of a backend.
    pub fn of_answer(answer: u64) -> Self {
        Self(answer << 1 | 1)
    }

    /// The bytes from an offset.
    pub fn bytes(self, offset: u64, length: usize) -> Vec<u8> {
        (offset..offset + length as u64).map(|at| self.byte(at)).collect()
    }

    /// The first place where bytes at an offset are not what they must be.
    pub fn difference(self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let wrong = bytes.iter().zip(offset..).find(|(byte, at)| **byte != self.byte(*at));
        wrong.map(|(_, at)| at)
    }

    fn byte(self, at: u64) -> u8 {
        let mut state = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ (at / 8);
        (split_mix(&mut state) >> (at % 8 * 8)) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_doubled_or_foreign_byte_is_a_difference() {
        let content = Content::of_request(7);
        let bytes = content.bytes(100, 500);
        assert_eq!(content.difference(100, &bytes), None);
        let mut lost = bytes.clone();
        lost.remove(250);
        assert!(content.difference(100, &lost).is_some());
        assert!(content.difference(101, &bytes).is_some());
        assert!(Content::of_answer(7).difference(100, &bytes).is_some());
        assert!(Content::of_request(8).difference(100, &bytes).is_some());
    }
}
