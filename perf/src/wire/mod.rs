//! What is spoken, as bytes: both ends of each protocol, as far as a generator and its backend need it. Pure: nothing
//! here opens, reads or waits.

pub(crate) mod http1;
