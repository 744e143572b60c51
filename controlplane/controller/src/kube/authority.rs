//! The authority by which proxies know the controller: kept in a Secret, so that every replica and the next one have
//! the same. Each replica signs its own certificate with it and makes a new one long before the old one ends.

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// The Secret's name.
pub const SECRET: &str = "ringway-ca";
/// How long the authority is good for. Whoever wants a new one deletes the Secret and restarts the controller.
const AUTHORITY_DAYS: i64 = 10 * 365;
/// How long a controller's own certificate is good for.
const CERTIFICATE_DAYS: i64 = 30;
/// After how long it is replaced.
pub const RENEW_AFTER: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The API server did not give or take the Secret.
    #[error("Secret {SECRET}: {0}")]
    Secret(#[from] Box<Error>),
    /// What is in the Secret is no authority.
    #[error("Secret {SECRET}: {0} is missing; delete the Secret and restart the controller")]
    Missing(&'static str),
    /// A key or certificate cannot be made or read.
    #[error("Secret {SECRET}: {0}")]
    Crypto(#[from] rcgen::Error),
}

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    /// Its certificate, as PEM.
    pub certificate: String,
    key: KeyPair,
}

/// A certificate chain and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The chain.
    pub chain: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// Makes a new one.
    pub fn new(now: Timestamp) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = params(now, AUTHORITY_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, key })
    }

    /// Reads one.
    pub fn read(certificate: String, key: &str) -> Result<Self, rcgen::Error> {
        Ok(Self { certificate, key: KeyPair::from_pem(key)? })
    }

    /// Makes a certificate for a server of these names and addresses.
    pub fn identity(&self, names: &[String], now: Timestamp) -> Result<Identity, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut own = CertificateParams::new(names.to_vec())?;
        limit(&mut own, now, CERTIFICATE_DAYS);
        own.distinguished_name = name("ringway controller");
        own.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        own.use_authority_key_identifier_extension = true;
        // Of the authority's certificate only its name and key are needed, and those are always these.
        let params = params(now, AUTHORITY_DAYS)?;
        let issuer = Issuer::from_params(&params, &self.key);
        let certificate = own.signed_by(&key, &issuer)?;
        Ok(Identity { chain: certificate.pem(), key: key.serialize_pem() })
    }
}

/// The authority that is kept in a namespace; it is made if there is none.
pub async fn load(client: &Client, namespace: &str) -> Result<Authority, AuthorityError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    if let Some(secret) = api.get_opt(SECRET).await.map_err(Box::new)? {
        return read(&secret);
    }
    let authority = Authority::new(Timestamp::now())?;
    let data = [("tls.crt", authority.certificate.clone()), ("tls.key", authority.key.serialize_pem())];
    let secret = Secret {
        metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).into()),
        ..Secret::default()
    };
    match api.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(authority),
        // Another replica was faster: its one counts.
        Err(Error::Api(status)) if status.code == 409 => read(&api.get(SECRET).await.map_err(Box::new)?),
        Err(error) => Err(Box::new(error).into()),
    }
}

fn read(secret: &Secret) -> Result<Authority, AuthorityError> {
    let text = |field: &'static str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(field));
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
        text.ok_or(AuthorityError::Missing(field))
    };
    Ok(Authority::read(text("tls.crt")?, &text("tls.key")?)?)
}

fn params(now: Timestamp, valid_days: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    limit(&mut params, now, valid_days);
    params.distinguished_name = name("ringway");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

/// From the day before, for clocks that are late, for so many days.
fn limit(params: &mut CertificateParams, now: Timestamp, valid_days: i64) {
    let today = TimeZone::UTC.to_datetime(now).date();
    let day = |after: i64| {
        let day = today.saturating_add(after.days());
        date_time_ymd(i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (day(-1), day(valid_days));
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use tokio_rustls::rustls::{RootCertStore, client::WebPkiServerVerifier};

    use super::*;

    #[test]
    fn what_it_signs_is_verified_by_it_alone_and_only_for_its_names() {
        let now = Timestamp::now();
        let made = Authority::new(now).unwrap();
        let read = Authority::read(made.certificate.clone(), &made.key.serialize_pem()).unwrap();
        let names = ["ringway-controller.ns.svc".to_owned(), "10.0.0.1".to_owned()];
        let identity = read.identity(&names, now).unwrap();
        let verify = |authority: &Authority, name: &str| {
            let mut roots = RootCertStore::empty();
            let root = CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap();
            roots.add(root).unwrap();
            let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots.into(), provider.into()).build().unwrap();
            let own = CertificateDer::from_pem_slice(identity.chain.as_bytes()).unwrap();
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(&own, &[], &name, &[], UnixTime::now()).is_ok()
        };
        use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
        assert!(verify(&made, "ringway-controller.ns.svc"));
        assert!(verify(&made, "10.0.0.1"));
        assert!(!verify(&made, "other.ns.svc"));
        assert!(!verify(&Authority::new(now).unwrap(), "10.0.0.1"));
    }
}
