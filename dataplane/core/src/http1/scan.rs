//! Finds where a head ends, without reading any byte twice, and refuses what cannot become a head.
//!
//! Stricter than the grammar's leniency: every line ends with CRLF, since a lone LF is a line end to some readers and
//! data to others (RFC 9112 section 2.2 only says MAY).

use std::ops::Range;

use memchr::memchr;

use crate::limits::Limits;

/// The search for the end of one head. Keep it as long as the head's bytes are collected; then begin a new one.
#[derive(Clone, Debug)]
pub struct HeadScan {
    line_bytes_max: usize,
    head_bytes_max: usize,
    blank_lines_max: usize,
    /// Where the head begins, after blank lines.
    start: usize,
    /// Where the line that is being looked at begins.
    line_start: usize,
    /// Before here there is no line end that was not seen.
    searched: usize,
    blank_lines: usize,
    first_line_ended: bool,
}

/// Why no head can come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScanError {
    /// The first line is longer than its limit.
    LineTooLong,
    /// The head is longer than its limit.
    HeadTooLarge,
    /// LF without CR.
    LineEnding,
    /// The first byte can begin no head.
    Junk,
    /// A line that continues the one before.
    Fold,
}

impl HeadScan {
    /// For a request. Up to two blank lines may come before it (RFC 9112 section 2.2 asks for one at least).
    pub fn request(limits: &Limits) -> Self {
        Self::new(limits.request_line_bytes_max, limits.header_bytes_max, 2)
    }

    /// For a response.
    pub fn response(limits: &Limits) -> Self {
        Self::new(limits.header_bytes_max, limits.header_bytes_max, 0)
    }

    fn new(line_bytes_max: usize, head_bytes_max: usize, blank_lines_max: usize) -> Self {
        Self {
            line_bytes_max,
            head_bytes_max,
            blank_lines_max,
            start: 0,
            line_start: 0,
            searched: 0,
            blank_lines: 0,
            first_line_ended: false,
        }
    }

    /// Whether parsing these bytes gives a head or a refusal, rather than the wish for more. `buf` is what was given
    /// before and what arrived since.
    pub fn ready(&mut self, buf: &[u8]) -> bool {
        !matches!(self.find(buf), Ok(None))
    }

    /// Where the head is, with its last empty line; `None` if more bytes are needed.
    pub(super) fn find(&mut self, buf: &[u8]) -> Result<Option<Range<usize>>, ScanError> {
        loop {
            if let Some(&first) = buf.get(self.line_start) {
                match first {
                    b' ' | b'\t' if self.first_line_ended => return Err(ScanError::Fold),
                    b'\r' | b'\n' => {}
                    _ if !self.first_line_ended && !is_token(first) => return Err(ScanError::Junk),
                    _ => {}
                }
            }
            let Some(found) = memchr(b'\n', &buf[self.searched..]) else {
                self.check_size(buf.len())?;
                self.searched = buf.len();
                return Ok(None);
            };
            let line_feed = self.searched + found;
            self.check_size(line_feed + 1)?;
            if line_feed == self.line_start || buf[line_feed - 1] != b'\r' {
                return Err(ScanError::LineEnding);
            }
            let blank = line_feed - 1 == self.line_start;
            let next = line_feed + 1;
            if !self.first_line_ended && blank {
                self.blank_lines += 1;
                if self.blank_lines > self.blank_lines_max {
                    return Err(ScanError::Junk);
                }
                self.start = next;
            } else if blank {
                return Ok(Some(self.start..next));
            } else {
                self.first_line_ended = true;
            }
            self.line_start = next;
            self.searched = next;
        }
    }

    /// Whether a head that reaches at least to `end` is within the limits.
    fn check_size(&self, end: usize) -> Result<(), ScanError> {
        if !self.first_line_ended && end - self.start > self.line_bytes_max {
            return Err(ScanError::LineTooLong);
        }
        if end - self.start > self.head_bytes_max {
            return Err(ScanError::HeadTooLarge);
        }
        Ok(())
    }
}

/// A `tchar` (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan() -> HeadScan {
        HeadScan::request(&Limits { header_bytes_max: 40, request_line_bytes_max: 20, ..Limits::default() })
    }

    #[test]
    fn a_head_ends_with_the_first_empty_line() {
        for (bytes, found) in [
            ("", Ok(None)),
            ("G", Ok(None)),
            ("G\r\n", Ok(None)),
            ("G\r\n\r", Ok(None)),
            ("G\r\n\r\n", Ok(Some(0..5))),
            ("G\r\na:b\r\n\r\nrest\n\n", Ok(Some(0..10))),
            ("\r", Ok(None)),
            ("\r\n\r\nG\r\n\r\n", Ok(Some(4..9))),
            ("\r\n\r\n\r\nG", Err(ScanError::Junk)),
            ("\n", Err(ScanError::LineEnding)),
            ("G\n", Err(ScanError::LineEnding)),
            ("G\r\n\n", Err(ScanError::LineEnding)),
            ("G\r\na: b\n", Err(ScanError::LineEnding)),
            ("G\r\n a", Err(ScanError::Fold)),
            ("G\r\na: b\r\n\tc", Err(ScanError::Fold)),
            (" G", Err(ScanError::Junk)),
            ("\x16\x03\x01", Err(ScanError::Junk)),
            ("\0", Err(ScanError::Junk)),
        ] {
            assert_eq!(scan().find(bytes.as_bytes()), found, "{bytes:?}");
        }
    }

    #[test]
    fn a_limit_counts_from_the_heads_first_byte_and_is_inclusive() {
        let line = |bytes: usize| format!("{}\r\n", "G".repeat(bytes - 2));
        let head = |bytes: usize| format!("G\r\na:{}\r\n\r\n", "b".repeat(bytes - 9));
        for (bytes, found) in [
            (format!("{}\r\n", line(20)), Ok(Some(0..22))),
            (line(21), Err(ScanError::LineTooLong)),
            ("G".repeat(20), Ok(None)),
            ("G".repeat(21), Err(ScanError::LineTooLong)),
            (head(40), Ok(Some(0..40))),
            (head(41), Err(ScanError::HeadTooLarge)),
            (format!("\r\n\r\n{}", head(40)), Ok(Some(4..44))),
            (head(41)[..40].to_owned(), Ok(None)),
        ] {
            assert_eq!(scan().find(bytes.as_bytes()), found, "{bytes:?}");
        }
    }

    #[test]
    fn byte_by_byte_finds_what_the_whole_finds() {
        for bytes in ["\r\nG /\r\na:b\r\n\r\nx", "G\r\na\n", "G\r\n\tb", &"x".repeat(30), "G\r\na:\r\n\r\n"] {
            let whole = scan().find(bytes.as_bytes());
            let mut stepwise = scan();
            let first = (0..=bytes.len())
                .map(|end| stepwise.find(&bytes.as_bytes()[..end]))
                .find(|found| *found != Ok(None))
                .unwrap_or(Ok(None));
            assert_eq!(first, whole, "{bytes:?}");
        }
    }
}
