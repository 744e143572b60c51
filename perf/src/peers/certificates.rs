//! Certificates for one run of the comparison: ECDSA P-256, one authority, one server, one client.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::json;

/// Why they could not be made or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// Made.
    #[error("cannot make certificates: {0}")]
    Make(#[from] rcgen::Error),
    /// Written.
    #[error("cannot write certificates: {0}")]
    Write(#[from] std::io::Error),
}

/// Writes `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`, both in one for HAProxy, and the same as
/// Kubernetes objects (`objects.yaml`) into a directory.
pub(crate) fn write(directory: &Path) -> Result<(), CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "perf authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    fs::write(directory.join("ca.pem"), &authority)?;
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": authority},
    })];
    for (name, purpose) in
        [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &issuer)?.pem();
        let key = key.serialize_pem();
        fs::write(directory.join(format!("{name}.pem")), &certificate)?;
        fs::write(directory.join(format!("{name}.key")), &key)?;
        fs::write(directory.join(format!("{name}-both.pem")), format!("{certificate}{key}"))?;
        objects.push(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
            "stringData": {"tls.crt": certificate, "tls.key": key},
        }));
    }
    // Every JSON document is a YAML document.
    let documents: Vec<String> = objects.iter().map(|object| format!("{object}\n")).collect();
    Ok(fs::write(directory.join("objects.yaml"), documents.join("---\n"))?)
}
