//! The `date` field of answers: made once a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of an HTTP date (RFC 9110 section 5.6.7).
pub(crate) const DATE_BYTES: usize = 29;

/// The date that was made last.
#[derive(Default)]
pub(crate) struct HttpDate {
    second: u64,
    text: [u8; DATE_BYTES],
}

impl HttpDate {
    /// The date of a moment.
    pub(crate) fn at(&mut self, now: SystemTime) -> [u8; DATE_BYTES] {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second || self.text[0] == 0 {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            // Years after 9999 have no HTTP date; the last one that was made stays.
            if text.len() == DATE_BYTES {
                self.text.copy_from_slice(text.as_bytes());
            }
            self.second = second;
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_moves_with_the_second() {
        let mut date = HttpDate::default();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(&date.at(at(784_111_777)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&date.at(at(784_111_778)), b"Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(&date.at(UNIX_EPOCH), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
