//! The contract between controller and proxies: configuration as protobuf, and the stream that carries it.
//!
//! [`encode()`] cannot fail; [`decode()`] believes nothing: what it returns is valid by construction, as everything of
//! `ringway-config` is. A resource is encoded once, and the same bytes go to every proxy; their hash is its
//! [`Version`]. Knows nothing of connections, of who may have what, or of when to send.
#![forbid(unsafe_code)]

mod decode;
mod encode;
mod version;

pub use decode::{DecodeError, decode, decode_name, name_of};
pub use encode::{encode, encode_name};
pub use version::{Digest, Digests, Version};

/// The messages as generated from `proto/` (`tests/generated.rs` says how).
#[expect(missing_docs, reason = "the contract's own comments say it; generated code repeats them only in part")]
#[rustfmt::skip]
#[path = "generated.rs"]
pub mod proto;

#[cfg(test)]
mod tests;
