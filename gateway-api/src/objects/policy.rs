//! What stands beside routes: ReferenceGrant, BackendTLSPolicy and XBackend.
//!
//! Fields are those of the Gateway API reference, under the same names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::macros::{roots, texts};
use super::shared::{LocalObjectReference, SecretObjectReference};
use super::status::{NoStatus, PolicyStatus, XBackendStatus};

roots! {
    /// Permission to refer to objects of this namespace from others.
    ReferenceGrant: "gateway.networking.k8s.io" "v1" "referencegrants" NamespaceResourceScope,
        spec ReferenceGrantSpec, status NoStatus;
    /// How TLS to a Service is made.
    BackendTLSPolicy: "gateway.networking.k8s.io" "v1" "backendtlspolicies" NamespaceResourceScope,
        spec BackendTlsPolicySpec, status PolicyStatus;
    /// A destination that is no Service: an external host name.
    XBackend: "gateway.networking.x-k8s.io" "v1alpha1" "xbackends" NamespaceResourceScope,
        spec XBackendSpec, status XBackendStatus;
}

texts! {
    /// Certificate authorities known by name.
    WellKnownCaCertificates { System = "System", }
    /// The type of a subject alternative name.
    SubjectAltNameType { Hostname = "Hostname", Uri = "URI", }
    /// The type of an XBackend.
    XBackendType { ExternalHostname = "ExternalHostname", }
    /// What is spoken to an XBackend.
    XBackendProtocol {
        Http = "HTTP", Http2 = "HTTP2", Http11 = "HTTP11", H2c = "H2C",
        Grpc = "GRPC", Mcp = "MCP", Tcp = "TCP",
    }
    /// TLS to an XBackend.
    XBackendTlsMode {
        None = "None", ServerOnly = "ServerOnly", ClientAndServer = "ClientAndServer",
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceGrantSpec {
    #[serde(default)]
    pub from: Vec<GrantFrom>,
    #[serde(default)]
    pub to: Vec<GrantTo>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantFrom {
    #[serde(default)]
    pub group: String,
    pub kind: String,
    pub namespace: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantTo {
    #[serde(default)]
    pub group: String,
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsPolicySpec {
    #[serde(default)]
    pub target_refs: Vec<PolicyTarget>,
    #[serde(default)]
    pub validation: BackendTlsValidation,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// What a policy is about: an object of its own namespace, or a part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTarget {
    #[serde(default)]
    pub group: String,
    pub kind: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendTlsValidation {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ca_certificate_refs: Vec<LocalObjectReference>,
    #[serde(rename = "wellKnownCACertificates", skip_serializing_if = "Option::is_none")]
    pub well_known_ca_certificates: Option<WellKnownCaCertificates>,
    #[serde(default)]
    pub hostname: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubjectAltName {
    #[serde(rename = "type")]
    pub kind: SubjectAltNameType,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XBackendSpec {
    #[serde(rename = "type")]
    pub kind: Option<XBackendType>,
    #[serde(default)]
    pub port: XBackendPort,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_hostname: Option<ExternalHostname>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<XBackendProtocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<XBackendTls>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XBackendPort {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    // v1.6 says `port`, later builds `number`.
    #[serde(default, alias = "number")]
    pub port: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalHostname {
    #[serde(default)]
    pub hostname: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XBackendTls {
    pub mode: XBackendTlsMode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretObjectReference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<BackendTlsValidation>,
}
