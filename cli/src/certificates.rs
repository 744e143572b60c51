//! What TLS would say of the certificates of a configuration, without serving it. It asks the same functions as the
//! proxy.

use std::time::SystemTime;

use ringway_config::{Config, Listener, ListenerProtocol};
use ringway_gateway_api::manifest::Document;
use ringway_gateway_api::validate::{Code, Finding};
use ringway_proxy::tls::{CertificateFault, Untimely};

use crate::plane::timestamp;

/// What is wrong with the certificates of a configuration that these documents come to.
pub(crate) fn findings(documents: &[Document], config: &Config, now: SystemTime) -> Vec<Finding> {
    let told = config.certificates.values().filter_map(|certificate| {
        let (code, what) = match CertificateFault::of(certificate) {
            Some(fault) => (Code::CertificateRefused, fault.to_string()),
            None => (Code::CertificateUntimely, untimely(Untimely::of(certificate, now)?)),
        };
        let secret = |document: &&Document| document.name().to_string() == certificate.key.as_str();
        let document = documents.iter().find(secret)?;
        let data = ["stringData", "data"].into_iter().find(|field| document.value.get(field).is_some());
        Some(Finding::new(code, document, data.unwrap_or_default().to_owned(), what, None))
    });
    told.collect()
}

fn untimely(untimely: Untimely) -> String {
    let time = timestamp(untimely.time());
    match untimely {
        Untimely::Expired(_) => format!("the certificate expired at {time}; clients refuse it"),
        Untimely::NotYetValid(_) => format!("the certificate is not valid before {time}; clients refuse it"),
    }
}

/// Why a listener that ends TLS can make no handshake.
pub(crate) fn no_handshake(config: &Config, listener: &Listener) -> Option<String> {
    let (ListenerProtocol::Https(termination) | ListenerProtocol::TlsTerminate(termination)) =
        &listener.protocol
    else {
        return None;
    };
    let mut faults = Vec::new();
    for key in &termination.certificates {
        let fault = match config.certificates.get(key) {
            Some(certificate) => CertificateFault::of(certificate)?,
            None => CertificateFault::Missing,
        };
        faults.push(format!("{key}: {fault}"));
    }
    Some(faults.join("; "))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use ringway_controller::source::{Found, Reading};
    use ringway_gateway_api::validate::Severity;

    use super::*;
    use crate::offline::{self, Offline};

    /// A self-signed certificate from 2000 to 4000, and its key.
    fn pair() -> (String, KeyPair) {
        let mut params = CertificateParams::new(vec!["shop.example".to_owned()]).expect("a name");
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(4000, 1, 1));
        let key = KeyPair::generate().expect("a key");
        (params.self_signed(&key).expect("a certificate").pem(), key)
    }

    fn read(certificate: &str, key: &KeyPair) -> Offline {
        let indented = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec:\n  \
             gatewayClassName: ringway\n  listeners:\n  - name: https\n    port: 443\n    protocol: HTTPS\n    \
             tls: {{certificateRefs: [{{name: shop}}]}}\n---\napiVersion: v1\nkind: Secret\n\
             metadata: {{name: shop}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
            indented(certificate),
            indented(&key.serialize_pem()),
        );
        let found = Found { source: "shop.yaml".into(), reading: Reading::Text(text) };
        Offline::of(vec![found], offline::options(false))
    }

    fn told(offline: &Offline) -> Vec<(Code, String)> {
        let told = offline.findings.iter().filter(|finding| finding.severity != Severity::Notice);
        told.map(|finding| (finding.code, format!("{} {}", finding.object, finding.message))).collect()
    }

    #[test]
    fn another_ones_key_is_found_and_makes_no_handshake() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        let good = read(&certificate, &key);
        assert_eq!(told(&good), []);
        let config = &good.translation.config;
        assert_eq!(config.listeners.values().find_map(|listener| no_handshake(config, listener)), None);

        let bad = read(&certificate, &other);
        let why = "the private key belongs to another certificate";
        assert_eq!(told(&bad), [(Code::CertificateRefused, format!("Secret/default/shop {why}"))]);
        let config = &bad.translation.config;
        assert_eq!(
            config.listeners.values().find_map(|listener| no_handshake(config, listener)),
            Some(format!("Secret/default/shop: {why}"))
        );
    }

    #[test]
    fn a_certificate_out_of_its_time_is_a_warning() {
        let (certificate, key) = pair();
        let offline = read(&certificate, &key);
        let at = |seconds: u64| {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            let found = findings(&offline.documents, &offline.translation.config, now);
            found.into_iter().map(|finding| (finding.severity, finding.message)).collect::<Vec<_>>()
        };
        assert_eq!(at(1_700_000_000), []);
        assert_eq!(
            at(0),
            [(
                Severity::Warning,
                "the certificate is not valid before 2000-01-01T00:00:00Z; clients refuse it".to_owned()
            )]
        );
        assert_eq!(
            at(64_100_000_000),
            [(
                Severity::Warning,
                "the certificate expired at 4000-01-01T00:00:00Z; clients refuse it".to_owned()
            )]
        );
    }
}
