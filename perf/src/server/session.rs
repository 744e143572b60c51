//! One connection of the backend, as bytes in and bytes out. Pure: when an answer leaves is the loop's business.

use super::{Answering, Speaks};
use crate::cause::Cause;
use crate::outgoing::Outgoing;
use crate::wire::http1::{Kind, Reader, Step};

/// Bodies up to this size are kept whole beside their head: one piece is written faster than two.
const WHOLE_BYTES_MAX: usize = 16 * 1024;

/// What all answers have in common, made once.
#[derive(Debug)]
pub(crate) struct Canned {
    speaks: Speaks,
    /// An HTTP/1.1 response; without its body if that is long.
    http1: Vec<u8>,
    /// The rest of it.
    http1_filler: usize,
}

impl Canned {
    pub(crate) fn new(answering: &Answering) -> Self {
        let length = answering.response_bytes;
        let mut http1 =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n")
                .into_bytes();
        let mut http1_filler = length;
        if length <= WHOLE_BYTES_MAX {
            http1.resize(http1.len() + length, b'x');
            http1_filler = 0;
        }
        Self { speaks: answering.speaks, http1, http1_filler }
    }
}

/// An answer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The next response of HTTP/1.1; whether the connection ends after it.
    Http1 { close: bool },
}

/// One connection.
#[derive(Debug)]
pub(crate) enum Session {
    Http1(Reader),
    Echo,
    Sink,
}

impl Session {
    pub(crate) fn new(canned: &Canned) -> Self {
        match canned.speaks {
            Speaks::Http => Self::Http1(Reader::new(Kind::Requests)),
            Speaks::TcpEcho => Self::Echo,
            Speaks::TcpSink => Self::Sink,
        }
    }

    /// Bytes came. What they ask for is put into `due`; what needs no thought is written at once.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        out: &mut Outgoing,
        due: &mut Vec<Due>,
    ) -> Result<(), Cause> {
        match self {
            Self::Http1(reader) => {
                while !input.is_empty() {
                    match reader.feed(input)? {
                        Step::More => break,
                        Step::Whole(message, taken) => {
                            input = &input[taken..];
                            due.push(Due::Http1 { close: message.close });
                        }
                        Step::Upgrade(..) => return Err(Cause::Malformed("upgrade")),
                    }
                }
            }
            Self::Echo => out.push(input),
            Self::Sink => {}
        }
        Ok(())
    }

    /// Gives an answer. True: it is the connection's last.
    pub(crate) fn answer(&mut self, due: Due, canned: &Canned, out: &mut Outgoing) -> bool {
        match due {
            Due::Http1 { close } => {
                out.push(&canned.http1);
                out.fill(canned.http1_filler);
                close
            }
        }
    }
}
