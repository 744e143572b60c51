//! What is spoken, as bytes: both ends of each protocol, as far as a generator and its backend need it. Pure: nothing
//! here opens, reads or waits.

pub(crate) mod hpack;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod websocket;
