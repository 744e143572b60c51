//! ReferenceGrant, BackendTLSPolicy, XBackend.

use serde_json::Value;

use super::super::code::Code;
use super::super::form;
use super::super::schema::{Shape, formed, list, object, optional, required, ruled, text};
use super::super::walk::Checker;
use super::rules::{has, items_of, of, references_differ};
use super::shared::{
    GROUP, HOSTNAME, KIND, LOCAL_REFERENCE, NAMESPACE, OBJECT_NAME, OPTIONS, PORT, PRECISE_HOSTNAME,
    SECRET_REFERENCE, SECTION, kind,
};

pub(super) const REFERENCE_GRANT: Shape = kind![required(
    "spec",
    object(&[required("from", list(&GRANT_FROM, 1, 16)), required("to", list(&GRANT_TO, 1, 16))])
)];

const GRANT_FROM: Shape =
    object(&[required("group", GROUP), required("kind", KIND), required("namespace", NAMESPACE)]);

const GRANT_TO: Shape =
    object(&[required("group", GROUP), required("kind", KIND), optional("name", OBJECT_NAME)]);

pub(super) const BACKEND_TLS_POLICY: Shape = kind![required(
    "spec",
    object(&[
        required("targetRefs", list(&TARGET, 1, 16).with(&[targets_differ])),
        required("validation", VALIDATION),
        optional("options", OPTIONS),
    ])
)];

const TARGET: Shape = object(&[
    required("group", GROUP),
    required("kind", KIND),
    required("name", OBJECT_NAME),
    optional("sectionName", SECTION),
]);

const VALIDATION: Shape = ruled(
    &[
        optional("caCertificateRefs", list(&LOCAL_REFERENCE, 0, 8)),
        optional("wellKnownCACertificates", formed(1, 253, &form::WELL_KNOWN_CAS)),
        required("hostname", PRECISE_HOSTNAME),
        optional("subjectAltNames", list(&SUBJECT, 0, 5)),
    ],
    &[one_source_of_cas],
);

const SUBJECT: Shape = ruled(
    &[
        required("type", Shape::OneOf(&["Hostname", "URI"])),
        optional("hostname", HOSTNAME),
        optional("uri", formed(1, 253, &form::URI)),
    ],
    &[subject_fits_type],
);

pub(super) const XBACKEND: Shape = kind![required(
    "spec",
    ruled(
        &[
            required("type", Shape::OneOf(&["ExternalHostname"])),
            optional("externalHostname", EXTERNAL_HOSTNAME),
            required("port", NAMED_PORT),
            optional("protocol", Shape::OneOf(&["TCP", "HTTP", "HTTP2", "HTTP11", "H2C", "MCP"])),
            optional("tls", BACKEND_TLS),
        ],
        &[external_hostname_fits_type],
    )
)];

const EXTERNAL_HOSTNAME: Shape = ruled(&[required("hostname", PRECISE_HOSTNAME)], &[outside_the_cluster]);

const NAMED_PORT: Shape = ruled(&[required("port", PORT), optional("name", text(0, 63))], &[port_name]);

const BACKEND_TLS: Shape = ruled(
    &[
        required("mode", Shape::OneOf(&["None", "ServerOnly", "ClientAndServer"])),
        optional("clientCertificateRef", SECRET_REFERENCE),
        optional("validation", VALIDATION),
    ],
    &[client_certificate_fits_mode],
);

fn targets_differ<'v>(targets: &'v Value, check: &mut Checker<'v>) {
    references_differ(targets, check, &["sectionName"], (Code::TargetNotDistinct, Code::TargetTwice));
}

fn one_source_of_cas<'v>(validation: &'v Value, check: &mut Checker<'v>) {
    match (items_of(validation, "caCertificateRefs"), of(validation, "wellKnownCACertificates")) {
        ([], "") => check.broken("", Code::CaMissing),
        ([], _) | (_, "") => {}
        _ => check.broken("", Code::CaTwice),
    }
}

fn subject_fits_type<'v>(subject: &'v Value, check: &mut Checker<'v>) {
    for (kind, field) in [("Hostname", "hostname"), ("URI", "uri")] {
        if (of(subject, "type") == kind) == of(subject, field).is_empty() {
            check.broken(&format!(".{field}"), Code::SubjectOfOtherType);
        }
    }
}

fn external_hostname_fits_type<'v>(spec: &'v Value, check: &mut Checker<'v>) {
    if (of(spec, "type") == "ExternalHostname") != has(spec, "externalHostname") {
        check.broken(".externalHostname", Code::ExternalHostnameMismatch);
    }
}

fn outside_the_cluster<'v>(external: &'v Value, check: &mut Checker<'v>) {
    if of(external, "hostname").ends_with(".cluster.local") {
        check.broken(".hostname", Code::HostnameInCluster);
    }
}

fn port_name<'v>(port: &'v Value, check: &mut Checker<'v>) {
    let name = of(port, "name");
    if !name.is_empty() && !form::dns_label(name) {
        let message = format!("{name:?} is not {}", form::DNS_LABEL.called);
        check.report(".name", Code::Malformed, message, None);
    }
}

fn client_certificate_fits_mode<'v>(tls: &'v Value, check: &mut Checker<'v>) {
    if (of(tls, "mode") == "ClientAndServer") != has(tls, "clientCertificateRef") {
        check.broken(".clientCertificateRef", Code::ClientCertificateMismatch);
    }
}
