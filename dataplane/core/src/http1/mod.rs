//! HTTP/1.0 and HTTP/1.1 as pure functions over bytes: no socket, no clock.
//!
//! A head is looked for ([`HeadScan`]), parsed ([`parse_request`], [`parse_response`]), its body cut out of what
//! arrives ([`BodyDecoder`]), and written again for the other side ([`encode`]). Every framing that two readers could
//! understand differently is refused (RFC 9112 section 6, and 11.2 for why): this is where request smuggling ends.

pub mod body;
pub mod encode;
mod framing;
pub mod request;
pub mod response;
mod scan;

pub use body::{BodyDecoder, BodyError, MessageEnd, Piece};
pub use framing::{BodyFraming, FramingError, parse_content_length};
pub use request::{Parsed, Refusal, may_upgrade_to, parse_request};
pub use response::{BadResponse, ParsedResponse, ResponseKind, parse_response};
pub use scan::HeadScan;
