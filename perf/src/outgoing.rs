//! Bytes that wait to be written: made ones, then filler that is never copied.

use std::io::IoSlice;

/// What bodies are made of. Written from here as often as a body is long.
static FILLER: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// Pieces of one gathered write: 1 MiB of filler with the head before it.
const PIECES: usize = 17;

/// Bytes that wait to be written, in order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    /// How many of `bytes` are written.
    written: usize,
    /// Bytes of filler after them.
    filler: usize,
}

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.written + self.filler
    }

    /// Forgets everything: the connection it was for is gone.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
        self.filler = 0;
    }

    /// The bytes to append to. Filler that still waits is turned into bytes, so that order holds.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.filler > 0 {
            let filler = std::mem::take(&mut self.filler);
            self.bytes.resize(self.bytes.len() + filler, FILLER[0]);
        }
        &mut self.bytes
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes().extend_from_slice(bytes);
    }

    /// A body of that many bytes.
    pub(crate) fn fill(&mut self, count: usize) {
        self.filler += count;
    }

    /// Calls `write` with what waits, as much as one call takes; it says how many bytes it took.
    pub(crate) fn write<E>(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let bytes = &self.bytes[self.written..];
        let taken = if self.filler == 0 {
            write(&[IoSlice::new(bytes)])?
        } else {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            if !bytes.is_empty() {
                pieces[0] = IoSlice::new(bytes);
                count = 1;
            }
            let mut left = self.filler;
            while left > 0 && count < PIECES {
                let piece = left.min(FILLER.len());
                pieces[count] = IoSlice::new(&FILLER[..piece]);
                left -= piece;
                count += 1;
            }
            write(&pieces[..count])?
        };
        self.take(taken);
        Ok(taken)
    }

    fn take(&mut self, count: usize) {
        let of_bytes = count.min(self.bytes.len() - self.written);
        self.written += of_bytes;
        self.filler -= count - of_bytes;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn drain(out: &mut Outgoing, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !out.is_empty() {
            let Ok(_) = out.write::<Infallible>(|pieces| {
                let mut left = step;
                for piece in pieces {
                    let taken = left.min(piece.len());
                    all.extend_from_slice(&piece[..taken]);
                    left -= taken;
                }
                Ok(step - left)
            });
        }
        all
    }

    #[test]
    fn order_holds_however_little_is_taken_at_a_time() {
        for step in [1, 7, 100_000, 3_000_000] {
            let mut out = Outgoing::default();
            out.push(b"head");
            out.fill(2_000);
            assert_eq!(drain(&mut out, step).len(), 2_004);
            out.push(b"a");
            out.fill(3);
            out.push(b"b");
            assert_eq!(drain(&mut out, step), b"axxxb");
        }
    }

    #[test]
    fn a_long_body_takes_several_writes() {
        let mut out = Outgoing::default();
        out.fill(3 * 1024 * 1024);
        assert_eq!(drain(&mut out, usize::MAX).len(), 3 * 1024 * 1024);
    }
}
