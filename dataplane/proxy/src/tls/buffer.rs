//! Byte buffers that an idle session does not have: taken from a small pool of the thread, given back when empty.
//!
//! Memory is initialised once and then reused, so that a steady session neither allocates nor clears. What an earlier
//! session left in a block is never readable: only filled bytes are shown.

use std::cell::RefCell;

/// A pooled block: what is queued for sending (64 KiB) with the overhead of its records.
const BLOCK_BYTES: usize = 66 << 10;
/// Blocks kept for one thread. More than sessions hold at the same moment, unless peers read slowly; further ones are
/// freed.
const POOLED_MAX: usize = 8;
/// What may stay behind in a buffer of its own size, so that a peer that sends half a record holds no block.
const REMAINDER_BYTES_MAX: usize = 4 << 10;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A queue of bytes in one piece.
#[derive(Default)]
pub(super) struct Buffer {
    /// All initialised; filled from `start` to `end`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// At least this much room behind what is filled; more if there is more.
    pub(super) fn room(&mut self, at_least: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < at_least {
            self.make_room(at_least);
        }
        &mut self.bytes[self.end..]
    }

    /// Counts bytes that were written into the room.
    pub(super) fn extend(&mut self, count: usize) {
        debug_assert!(self.end + count <= self.bytes.len());
        self.end += count;
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.extend(bytes.len());
    }

    /// Removes bytes from the front.
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len());
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives the block back: whole if nothing is filled, else for a smaller piece of memory where that is worth it.
    pub(super) fn settle(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        } else if self.len() <= REMAINDER_BYTES_MAX && self.bytes.len() > 2 * REMAINDER_BYTES_MAX {
            *self = Self { bytes: self.filled().to_vec(), start: 0, end: self.len() };
        }
    }

    /// The memory held, in bytes.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn make_room(&mut self, at_least: usize) {
        let needed = self.len() + at_least;
        if needed <= self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
        } else if needed <= BLOCK_BYTES {
            let mut block = take();
            block[..self.len()].copy_from_slice(self.filled());
            give(std::mem::replace(&mut self.bytes, block));
        } else {
            self.bytes.copy_within(self.start..self.end, 0);
            self.bytes.resize(needed.next_power_of_two(), 0);
        }
        (self.start, self.end) = (0, self.len());
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.bytes));
    }
}

fn take() -> Vec<u8> {
    let pooled = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
    pooled.unwrap_or_else(|| vec![0; BLOCK_BYTES])
}

fn give(block: Vec<u8>) {
    if block.len() != BLOCK_BYTES {
        return;
    }
    // The pool is gone when a thread ends before its sessions: then the block is freed.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < POOLED_MAX {
            pool.push(block);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_across_growth_and_compaction() {
        let mut buffer = Buffer::default();
        let (mut put, mut taken) = (0u32, 0u32);
        for round in 0..2000usize {
            for _ in 0..(round % 97) * 3 {
                buffer.append(&put.to_le_bytes());
                put += 1;
            }
            for _ in 0..(round % 89) * 3 {
                if buffer.is_empty() {
                    break;
                }
                assert_eq!(buffer.filled()[..4], taken.to_le_bytes());
                buffer.consume(4);
                taken += 1;
            }
            buffer.settle();
        }
        assert_eq!(buffer.len(), (put - taken) as usize * 4);
        assert!(put > 100_000 && taken > 100_000);
    }

    #[test]
    fn an_empty_buffer_holds_nothing_and_a_small_remainder_holds_no_block() {
        let mut buffer = Buffer::default();
        buffer.append(&[7; 100]);
        assert_eq!(buffer.capacity(), BLOCK_BYTES);
        buffer.consume(90);
        buffer.settle();
        assert_eq!(buffer.filled(), [7; 10]);
        assert!(buffer.capacity() < 100);
        buffer.consume(10);
        buffer.settle();
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn the_pool_keeps_no_more_than_its_number() {
        let mut buffers: Vec<Buffer> = (0..2 * POOLED_MAX).map(|_| Buffer::default()).collect();
        buffers.iter_mut().for_each(|buffer| buffer.append(b"x"));
        drop(buffers);
        assert_eq!(POOL.with(|pool| pool.borrow().len()), POOLED_MAX);
    }
}
