//! Buffers to receive into, pooled by core. A connection that waits for its next request holds none.

use std::cell::RefCell;
use std::rc::Rc;

/// What is received into a buffer at once: larger than the usual request, small enough to stay in cache. As much as a
/// TLS record holds, so that what is passed on in records fills them.
pub const RECEIVE_BYTES: usize = 16 << 10;
/// What a buffer holds at first: that, and what a full record of TLS needs beside it to be opened in one pass.
pub const BUFFER_BYTES: usize = RECEIVE_BYTES + 1;
/// Free buffers that a core keeps: 4 MiB. Further ones are given back to the allocator.
const FREE_MAX: usize = 256;

/// The free buffers of a core.
#[derive(Clone, Default)]
pub struct Buffers(Rc<RefCell<Vec<Box<[u8]>>>>);

impl Buffers {
    /// An empty buffer.
    pub fn take(&self) -> Buffer {
        let bytes = self.0.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER_BYTES].into());
        Buffer { bytes, start: 0, end: 0, home: self.clone() }
    }

    /// A buffer that holds bytes already; of their size, so it does not go back to the pool unless that is the usual one.
    pub fn holding(&self, bytes: Vec<u8>) -> Buffer {
        let end = bytes.len();
        Buffer { bytes: bytes.into(), start: 0, end, home: self.clone() }
    }
}

/// Bytes that were received and not yet used, with room for more. Goes back to its pool when dropped.
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    home: Buffers,
}

impl Buffer {
    /// What was received and not yet used.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The same, for decryption and decoding in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Marks bytes as used.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(self.start <= self.end, "no more can be used than was received");
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Room to receive into: the same, but no more than is received at once.
    pub fn receive_space(&mut self) -> &mut [u8] {
        let space = self.space();
        let most = space.len().min(RECEIVE_BYTES);
        &mut space[..most]
    }

    /// Room for more; moves what is left to the front when the end is reached. Empty only if the buffer is full.
    pub fn space(&mut self) -> &mut [u8] {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }

    /// Marks room as filled.
    pub fn advance(&mut self, count: usize) {
        self.end += count;
        assert!(self.end <= self.bytes.len(), "no more can be received than there is room for");
    }

    /// Makes room for a head that is larger than usual, up to a limit; says whether there is any now.
    pub fn grow(&mut self, bytes_max: usize) -> bool {
        if !self.space().is_empty() {
            return true;
        }
        let size = (2 * self.bytes.len()).min(bytes_max);
        if size <= self.bytes.len() {
            return false;
        }
        let mut larger = vec![0; size].into_boxed_slice();
        larger[..self.end - self.start].copy_from_slice(&self.bytes[self.start..self.end]);
        (self.start, self.end) = (0, self.end - self.start);
        self.bytes = larger;
        true
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.home.0.borrow_mut();
        if self.bytes.len() == BUFFER_BYTES && free.len() < FREE_MAX {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_moves_to_the_front_when_the_end_is_reached() {
        let mut buffer = Buffers::default().take();
        let size = buffer.space().len();
        buffer.space().fill(7);
        buffer.advance(size);
        assert!(buffer.space().is_empty());
        buffer.consume(size - 2);
        assert_eq!(buffer.space().len(), size - 2);
        assert_eq!(buffer.filled(), [7, 7]);
    }

    #[test]
    fn it_grows_to_the_limit_and_no_further_and_only_the_usual_size_is_kept() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        let fill = |buffer: &mut Buffer| {
            let room = buffer.space().len();
            buffer.advance(room);
        };
        fill(&mut buffer);
        assert!(buffer.grow(BUFFER_BYTES + 1));
        fill(&mut buffer);
        assert!(!buffer.grow(BUFFER_BYTES + 1));
        assert_eq!(buffer.filled().len(), BUFFER_BYTES + 1);
        drop(buffer);
        assert_eq!(buffers.0.borrow().len(), 0);
        drop(buffers.take());
        assert_eq!(buffers.0.borrow().len(), 1);
    }
}
