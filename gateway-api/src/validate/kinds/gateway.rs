//! GatewayClass, Gateway, ListenerSet.

use serde_json::Value;

use super::super::code::Code;
use super::super::form;
use super::super::schema::Default::{Empty, Text};
use super::super::schema::Distinct::By;
use super::super::schema::{Shape, defaulted, formed, list, object, optional, required, ruled, text};
use super::super::walk::Checker;
use super::rules::{duplicates, has, items, of};
use super::shared::{
    CA_REFERENCE, GROUP, HOSTNAME, KIND, LABEL_VALUE, LOCAL_REFERENCE, NAMESPACE, OBJECT_NAME, OPTIONS, PORT,
    SECRET_REFERENCE, SECTION, SELECTOR, kind,
};

pub(super) const GATEWAY_CLASS: Shape = kind![required(
    "spec",
    object(&[
        required("controllerName", formed(1, 253, &form::CONTROLLER_NAME)),
        optional("description", text(0, 64)),
        optional(
            "parametersRef",
            object(&[
                required("group", GROUP),
                required("kind", KIND),
                required("name", OBJECT_NAME),
                optional("namespace", NAMESPACE),
            ]),
        ),
    ])
)];

pub(super) const GATEWAY: Shape = kind![required(
    "spec",
    ruled(
        &[
            required("gatewayClassName", text(1, 253)),
            required("listeners", LISTENERS),
            optional("addresses", list(&ADDRESS, 0, 16).with(&[addresses_differ])),
            optional("allowedListeners", object(&[defaulted("namespaces", LISTENERS_FROM, Empty)]),),
            optional("defaultScope", Shape::OneOf(&["All", "None"])),
            optional("infrastructure", INFRASTRUCTURE),
            optional("tls", GATEWAY_TLS),
        ],
        &[no_default]
    )
)];

pub(super) const LISTENER_SET: Shape = kind![required(
    "spec",
    object(&[
        required(
            "parentRef",
            object(&[
                defaulted("group", GROUP, Text("gateway.networking.k8s.io")),
                defaulted("kind", KIND, Text("Gateway")),
                required("name", OBJECT_NAME),
                optional("namespace", NAMESPACE),
            ]),
        ),
        required("listeners", LISTENERS),
    ])
)];

const LISTENERS: Shape = list(&LISTENER, 1, 64).distinct(By("name")).with(&[listeners]);

const LISTENER: Shape = object(&[
    required("name", SECTION),
    optional("hostname", HOSTNAME),
    required("port", PORT),
    required("protocol", formed(1, 255, &form::PROTOCOL)),
    optional("tls", LISTENER_TLS),
    defaulted(
        "allowedRoutes",
        object(&[defaulted("namespaces", ROUTES_FROM, Empty), optional("kinds", list(&ROUTE_KIND, 0, 8))]),
        Empty,
    ),
]);

const ROUTE_KIND: Shape =
    object(&[defaulted("group", GROUP, Text("gateway.networking.k8s.io")), required("kind", KIND)]);

const LISTENER_TLS: Shape = ruled(
    &[
        defaulted("mode", Shape::OneOf(&["Terminate", "Passthrough"]), Text("Terminate")),
        optional("certificateRefs", list(&SECRET_REFERENCE, 0, 64)),
        optional("options", OPTIONS),
    ],
    &[certificates],
);

const ROUTES_FROM: Shape = object(&[
    defaulted("from", Shape::OneOf(&["All", "Selector", "Same"]), Text("Same")),
    optional("selector", SELECTOR),
]);

const LISTENERS_FROM: Shape = object(&[
    defaulted("from", Shape::OneOf(&["All", "Selector", "Same", "None"]), Text("None")),
    optional("selector", SELECTOR),
]);

const ADDRESS: Shape = ruled(
    &[
        defaulted("type", formed(1, 253, &form::ADDRESS_TYPE), Text("IPAddress")),
        optional("value", text(0, 253)),
    ],
    &[address],
);

const INFRASTRUCTURE: Shape = object(&[
    optional("annotations", Shape::Map { key: Some(&form::LABEL_KEY), value: &text(0, 4096), max: 16 }),
    optional("labels", Shape::Map { key: Some(&form::LABEL_KEY), value: &LABEL_VALUE, max: 8 }),
    optional("parametersRef", LOCAL_REFERENCE),
]);

const GATEWAY_TLS: Shape = object(&[
    optional("backend", object(&[optional("clientCertificateRef", SECRET_REFERENCE)])),
    optional(
        "frontend",
        object(&[
            required("default", CLIENT_TLS),
            optional("perPort", list(&PORT_TLS, 0, 64).distinct(By("port"))),
        ]),
    ),
]);

const PORT_TLS: Shape = object(&[required("port", PORT), required("tls", CLIENT_TLS)]);

const CLIENT_TLS: Shape = object(&[optional(
    "validation",
    object(&[
        required("caCertificateRefs", list(&CA_REFERENCE, 1, 16)),
        defaulted("mode", Shape::OneOf(&["AllowValidOnly", "AllowInsecureFallback"]), Text("AllowValidOnly")),
    ]),
)]);

fn listeners<'v>(value: &'v Value, check: &mut Checker<'v>) {
    let listeners = items(value);
    for (index, listener) in listeners.iter().enumerate() {
        let protocol = of(listener, "protocol");
        let at = |field: &str| format!("[{index}].{field}");
        if matches!(protocol, "HTTP" | "TCP" | "UDP") && has(listener, "tls") {
            check.broken(&at("tls"), Code::TlsOnPlaintext);
        }
        if protocol == "HTTPS" && listener.pointer("/tls/mode").is_some_and(|mode| mode != "Terminate") {
            check.broken(&at("tls.mode"), Code::HttpsNotTerminated);
        }
        if protocol == "TLS" && !has(listener, "tls") {
            check.broken(&at("tls"), Code::TlsWithoutMode);
        }
        if matches!(protocol, "TCP" | "UDP") && has(listener, "hostname") {
            check.broken(&at("hostname"), Code::HostnameOnLayer4);
        }
    }
    let key = |listener: &'v Value| {
        let hostname = listener.get("hostname").and_then(Value::as_str);
        Some((listener.get("port")?.as_i64(), of(listener, "protocol"), hostname))
    };
    for (index, first) in duplicates(listeners, key) {
        let message =
            format!("has the port, protocol and hostname of listener `{}`", of(&listeners[first], "name"));
        check.report(&format!("[{index}]"), Code::ListenerClash, message, None);
    }
}

fn certificates<'v>(tls: &'v Value, check: &mut Checker<'v>) {
    let filled = |field: &str| match tls.get(field) {
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(entries)) => !entries.is_empty(),
        _ => false,
    };
    if of(tls, "mode") == "Terminate" && !filled("certificateRefs") && !filled("options") {
        check.broken("", Code::NoCertificate);
    }
}

fn address<'v>(address: &'v Value, check: &mut Checker<'v>) {
    let Some(value) = address.get("value").and_then(Value::as_str) else { return };
    match of(address, "type") {
        "IPAddress" if value.parse::<std::net::IpAddr>().is_err() => {
            check.report(".value", Code::AddressNotIp, format!("{value:?} is not an IP address"), None);
        }
        "Hostname" if !form::hostname(value) => {
            check.report(".value", Code::AddressNotHostname, format!("{value:?} is not a hostname"), None);
        }
        _ => {}
    }
}

fn addresses_differ<'v>(value: &'v Value, check: &mut Checker<'v>) {
    let key = |address: &'v Value| {
        let kind = of(address, "type");
        matches!(kind, "IPAddress" | "Hostname").then_some((kind, address.get("value")?.as_str()?))
    };
    for (index, first) in duplicates(items(value), key) {
        check.report(
            &format!("[{index}]"),
            Code::DuplicateAddress,
            format!("is the same as [{first}]"),
            None,
        );
    }
}

/// Routes that name no Gateway are served by none.
fn no_default<'v>(spec: &'v Value, check: &mut Checker<'v>) {
    if of(spec, "defaultScope") == "All" {
        let message = "default gateways are not served yet, so no route comes here by it".to_owned();
        check.report(".defaultScope", Code::NotServedYet, message, None);
    }
}
