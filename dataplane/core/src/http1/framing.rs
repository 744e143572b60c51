//! How long a body is: the one question on which two readers must never disagree (RFC 9112 section 6.3).

use crate::message::Version;

/// How a body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    None,
    /// That many bytes; may be none.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Until the connection closes; in responses only.
    UntilClose,
}

impl BodyFraming {
    /// Whether it is known that no body byte follows.
    pub fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// Why the length of a body is not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// `Content-Length` is no plain number below 2^64.
    LengthInvalid,
    /// `Content-Length` more than once, be it with one value.
    LengthRepeated,
    /// `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
    /// `Transfer-Encoding` in a message older than HTTP/1.1.
    CodingBeforeHttp11,
    /// `Transfer-Encoding` that does not end with `chunked`, or has it twice.
    CodingInvalid,
    /// A transfer coding besides `chunked`: it would have to be undone to pass the body on.
    CodingUnsupported,
}

/// What the framing fields of a head have said so far.
#[derive(Debug, Default)]
pub(super) struct FramingFields {
    length: Option<u64>,
    coded: bool,
    other_coding: bool,
    chunked: bool,
}

impl FramingFields {
    /// A `Content-Length` field.
    pub(super) fn length(&mut self, value: &[u8]) -> Result<(), FramingError> {
        if self.length.is_some() {
            return Err(FramingError::LengthRepeated);
        }
        self.length = Some(parse_content_length(value).ok_or(FramingError::LengthInvalid)?);
        Ok(())
    }

    /// A `Transfer-Encoding` field; several add up to one list.
    pub(super) fn coding(&mut self, value: &[u8]) -> Result<(), FramingError> {
        self.coded = true;
        // Empty list elements, which a recipient may ignore, are refused like any other unknown coding.
        for coding in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if self.chunked || coding.is_empty() {
                return Err(FramingError::CodingInvalid);
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.chunked = true;
            } else {
                self.other_coding = true;
            }
        }
        Ok(())
    }

    /// `None` if no field speaks of a body.
    pub(super) fn conclude(&self, version: Version) -> Result<Option<BodyFraming>, FramingError> {
        match (self.coded, self.length) {
            (false, None) => Ok(None),
            (false, Some(length)) => Ok(Some(BodyFraming::Length(length))),
            (true, _) if version < Version::Http11 => Err(FramingError::CodingBeforeHttp11),
            (true, Some(_)) => Err(FramingError::LengthAndCoding),
            (true, None) if !self.chunked => Err(FramingError::CodingInvalid),
            (true, None) if self.other_coding => Err(FramingError::CodingUnsupported),
            (true, None) => Ok(Some(BodyFraming::Chunked)),
        }
    }
}

/// The number in a `content-length`: `1*DIGIT` (RFC 9110 section 8.6), no sign, no space, no list.
///
/// Also for HTTP/2, which takes the field out of the head as the codecs here do.
pub fn parse_content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |length, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_digits_and_nothing_else() {
        for (value, length) in [
            ("0", Some(0)),
            ("0010", Some(10)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1 ", None),
            ("0x1", None),
            ("1,1", None),
            ("1.0", None),
        ] {
            assert_eq!(parse_content_length(value.as_bytes()), length, "{value:?}");
        }
    }
}
