//! Certificates, keys and trust anchors out of Secrets and ConfigMaps.
//!
//! A PEM text is taken apart here and never again; whether a key fits its certificate is for the TLS library.

use std::sync::Arc;

use ringway_config::{Certificate, CertificateKey, Der, PrivateKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::condition::Problem;
use super::grants::permitted;
use crate::objects::{Kind, Secret, SecretObjectReference};
use crate::world::World;

/// The certificate that a reference of `from` names. `invalid` is the reason if there is none to be had.
pub(crate) fn certificate(
    world: &World,
    reference: &SecretObjectReference,
    from: (Kind, &str),
    field: &str,
    invalid: &'static str,
) -> Result<Arc<Certificate>, Problem> {
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or("Secret");
    if !group.is_empty() || kind != "Secret" {
        return Err(Problem::new(invalid, format!("{field}: {kind:?} of group {group:?} is no Secret")));
    }
    let namespace = reference.namespace.as_deref().unwrap_or(from.1);
    let name = &*reference.name;
    if !permitted(world, from, ("", "Secret"), (namespace, name)) {
        let message =
            format!("{field}: no ReferenceGrant lets this {} use Secret {namespace}/{name}", from.0);
        return Err(Problem::new("RefNotPermitted", message));
    }
    let missing = || Problem::new(invalid, format!("{field}: Secret {namespace}/{name} not found"));
    let secret = world.secrets.get(namespace, name).ok_or_else(missing)?;
    let key = CertificateKey::new(format!("Secret/{namespace}/{name}"));
    key_pair(key, secret).map(Arc::new).map_err(|why| {
        let message = format!("{field}: Secret {namespace}/{name}: {why}");
        Problem::new(invalid, message)
    })
}

/// The trust anchors of a ConfigMap's `ca.crt`, or why there are none.
pub(crate) fn authorities(world: &World, namespace: &str, name: &str) -> Result<Vec<Der>, String> {
    let map = world
        .config_maps
        .get(namespace, name)
        .ok_or_else(|| format!("ConfigMap {namespace}/{name} not found"))?;
    let text = map.data.as_ref().and_then(|data| data.get("ca.crt")).map(String::as_bytes);
    let binary =
        || map.binary_data.as_ref().and_then(|data| data.get("ca.crt")).map(|bytes| bytes.0.as_slice());
    let pem = text.or_else(binary).ok_or_else(|| format!("ConfigMap {namespace}/{name} has no ca.crt"))?;
    chain(pem).map_err(|why| format!("ConfigMap {namespace}/{name}: ca.crt: {why}"))
}

fn key_pair(key: CertificateKey, secret: &Secret) -> Result<Certificate, String> {
    let chain =
        chain(field(secret, "tls.crt").ok_or("no tls.crt")?).map_err(|why| format!("tls.crt: {why}"))?;
    let pem = field(secret, "tls.key").ok_or("no tls.key")?;
    let private_key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| "tls.key: no private key in PEM form (PKCS#8, PKCS#1 or SEC1)")?;
    Ok(Certificate { key, chain, private_key: PrivateKey::new(private_key.secret_der()) })
}

/// `stringData` wins over `data`, as when the API server stores a Secret.
fn field<'a>(secret: &'a Secret, name: &str) -> Option<&'a [u8]> {
    let text = secret.string_data.as_ref().and_then(|data| data.get(name)).map(String::as_bytes);
    text.or_else(|| secret.data.as_ref().and_then(|data| data.get(name)).map(|bytes| bytes.0.as_slice()))
}

fn chain(pem: &[u8]) -> Result<Vec<Der>, &'static str> {
    let certificates =
        CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| "malformed PEM")?;
    if certificates.is_empty() {
        return Err("no certificate in PEM form");
    }
    if !certificates.iter().all(|der| is_sequence(der)) {
        return Err("not an X.509 certificate");
    }
    Ok(certificates.into_iter().map(|der| Der::new(der.as_ref())).collect())
}

/// Whether bytes are one DER SEQUENCE from end to end. Text that was merely wrapped in PEM armour is not.
fn is_sequence(der: &[u8]) -> bool {
    let (length, header) = match der {
        [0x30, short, ..] if *short < 0x80 => (usize::from(*short), 2),
        [0x30, 0x81, length, ..] => (usize::from(*length), 3),
        [0x30, 0x82, high, low, ..] => (usize::from(u16::from_be_bytes([*high, *low])), 4),
        [0x30, 0x83, a, b, c, ..] => (u32::from_be_bytes([0, *a, *b, *c]) as usize, 5),
        _ => return false,
    };
    der.len() == header + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_sequence_passes_for_a_certificate() {
        for (der, expected) in [
            (&[0x30, 0x01, 0x00][..], true),
            (&[0x30, 0x02, 0x00], false),
            (&[0x30, 0x81, 0x01, 0x00], true),
            (b"Hello world", false),
            (&[], false),
        ] {
            assert_eq!(is_sequence(der), expected, "{der:?}");
        }
        assert_eq!(chain(b"Hello world"), Err("no certificate in PEM form"));
    }
}
