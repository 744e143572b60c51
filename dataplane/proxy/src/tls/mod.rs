//! TLS to clients and to upstreams: configuration made off-core, sessions that only see bytes.
//!
//! [`TlsStore`] turns a configuration into one [`ServerTls`] a listener and one [`ClientTls`] a cluster, shared by all
//! cores and rebuilt only where something changed. [`TlsSession`] is one connection: bytes in, bytes out, no I/O. The
//! session's API names nothing of rustls, which makes the handshake and is then dropped for a record layer of our own.
//! Nothing here falls back to plain text, reads a process-wide default or panics on what a peer sends.

use std::sync::{Arc, OnceLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

mod buffer;
mod certificate;
mod client;
mod clock;
mod failure;
mod handshake;
mod identity;
mod record;
mod server;
mod store;
mod stream;
#[cfg(test)]
mod testing;
mod tickets;
mod visitor;

pub use certificate::{CertificateFault, Untimely};
pub use client::ClientTls;
pub use clock::{Clock, ClockHand};
pub use failure::{CertificateRefusal, TlsFailure};
#[cfg(fuzzing)]
pub use record::fuzzing;
pub use server::{ServerTls, TlsFault};
pub use store::{TlsPlace, TlsProblem, TlsStore};
pub use stream::{Alpn, Handshake, Hello, OPEN_BYTES, Plaintext, TlsFacts, TlsSession, TlsVersion};

/// TLS 1.3 first; 1.2 for peers that know no better.
static VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The cryptography of every session: aws-lc-rs, with X25519MLKEM768 offered first. Given to each configuration, so
/// that no library can change it by installing a process-wide default.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}
