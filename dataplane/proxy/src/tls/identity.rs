//! Who a client is, by a certificate that was verified. Never called on one that was not.

use ringway_core::PeerIdentity;
use rustls_pki_types::CertificateDer;

/// The names in a verified certificate. Empty for one that names nothing, which is an identity all the same.
pub(super) fn identity(verified: &CertificateDer<'_>) -> PeerIdentity {
    // Verification parsed it already, so it parses.
    webpki::EndEntityCert::try_from(verified).map_or_else(
        |_| PeerIdentity::default(),
        |parsed| PeerIdentity {
            dns_names: parsed.valid_dns_names().map(str::to_ascii_lowercase).collect(),
            uris: parsed.valid_uri_names().map(str::to_owned).collect(),
        },
    )
}
