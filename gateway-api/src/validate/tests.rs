//! Each rule, by one table: an object that is right, changed in one place, yields exactly one finding.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::Object;
use crate::manifest::parse;

fn read(value: &Value) -> Document {
    let (mut documents, errors) = parse("in.yaml".into(), &value.to_string());
    assert_eq!(errors, []);
    documents.pop().expect("one object was written")
}

/// Code and field of all findings, as an API server would have them: defaults first.
fn found(value: &Value) -> Vec<(Code, String)> {
    let findings = admit(vec![read(value)]).findings;
    findings.into_iter().map(|finding| (finding.code, finding.field)).collect()
}

/// Puts `new` at a pointer whose last step may be new; null takes away what is there.
fn set(value: &mut Value, pointer: &str, new: Value) {
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
    match value.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}")) {
        Value::Object(fields) if new.is_null() => {
            fields.remove(last);
        }
        Value::Object(fields) => {
            fields.insert(last.replace("~1", "/"), new);
        }
        Value::Array(items) => {
            let index: usize = last.parse().expect("an index");
            if index == items.len() {
                items.push(new);
            } else {
                items[index] = new;
            }
        }
        _ => panic!("{parent} has no fields"),
    }
}

fn object(api_version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec})
}

fn gateway_api(kind: &str, spec: Value) -> Value {
    object("gateway.networking.k8s.io/v1", kind, spec)
}

fn gateway_class() -> Value {
    gateway_api("GatewayClass", json!({"controllerName": "example.com/gateway", "description": "d"}))
}

fn gateway() -> Value {
    gateway_api(
        "Gateway",
        json!({
            "gatewayClassName": "ringway",
            "addresses": [
                {"value": "10.0.0.1"}, {"type": "IPAddress", "value": "::1"},
                {"type": "Hostname", "value": "*.example.com"}, {"type": "Hostname"},
                {"type": "example.com/pool", "value": "a b"},
            ],
            "allowedListeners": {"namespaces": {"from": "Selector", "selector": {
                "matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
            }}},
            "infrastructure": {
                "labels": {"example.com/a": "b"}, "annotations": {"a": "any text"},
                "parametersRef": {"group": "", "kind": "ConfigMap", "name": "x"},
            },
            "tls": {
                "backend": {"clientCertificateRef": {"name": "client"}},
                "frontend": {
                    "default": {"validation": {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}},
                    "perPort": [
                        {"port": 443, "tls": {}},
                        {"port": 8443, "tls": {"validation": {
                            "mode": "AllowInsecureFallback",
                            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
                        }}},
                    ],
                },
            },
            "listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP"},
                {"name": "https", "port": 443, "protocol": "HTTPS", "hostname": "*.example.com",
                    "tls": {"certificateRefs": [{"name": "cert"}]}},
                {"name": "pass", "port": 443, "protocol": "TLS", "tls": {"mode": "Passthrough"},
                    "allowedRoutes": {"kinds": [{"kind": "TLSRoute"}], "namespaces": {"from": "All"}}},
                {"name": "tcp", "port": 80, "protocol": "TCP"},
                {"name": "udp", "port": 80, "protocol": "UDP"},
            ],
        }),
    )
}

fn listener_set() -> Value {
    gateway_api(
        "ListenerSet",
        json!({"parentRef": {"name": "gateway"}, "listeners": [{"name": "a", "port": 80, "protocol": "HTTP"}]}),
    )
}

fn http_route() -> Value {
    gateway_api(
        "HTTPRoute",
        json!({
            "parentRefs": [{"name": "a", "sectionName": "x"}, {"name": "a", "sectionName": "y"}, {"name": "b"}],
            "hostnames": ["example.com", "*.example.com"],
            "rules": [
                {
                    "name": "first",
                    "matches": [
                        {"path": {"type": "Exact", "value": "/a"}, "method": "GET",
                            "headers": [{"name": "x", "value": "y"}],
                            "queryParams": [{"name": "x", "type": "RegularExpression", "value": "[a-z]+"}]},
                        {"path": {"type": "RegularExpression", "value": "no // slash"}},
                    ],
                    "filters": [
                        {"type": "RequestHeaderModifier", "requestHeaderModifier": {
                            "set": [{"name": "a", "value": "b"}], "add": [{"name": "a", "value": "b c"}], "remove": ["c"],
                        }},
                        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["c"]}},
                        {"type": "RequestMirror", "requestMirror": {
                            "backendRef": {"name": "m", "port": 80}, "percent": 5}},
                        {"type": "RequestMirror", "requestMirror": {
                            "backendRef": {"name": "m", "port": 80}, "fraction": {"numerator": 5, "denominator": 10}}},
                        {"type": "CORS", "cors": {
                            "allowOrigins": ["https://*.example.com"], "allowMethods": ["*"], "allowHeaders": ["x-a"],
                            "exposeHeaders": ["*"], "allowCredentials": true, "maxAge": 60}},
                        {"type": "ExtensionRef", "extensionRef": {"group": "example.com", "kind": "Own", "name": "x"}},
                        {"type": "ExternalAuth", "externalAuth": {
                            "protocol": "HTTP", "http": {"path": "/auth"}, "backendRef": {"name": "auth", "port": 80}}},
                    ],
                    "backendRefs": [
                        {"name": "web", "port": 80, "weight": 0},
                        {"group": "example.com", "kind": "Own", "name": "web"},
                    ],
                    "timeouts": {"request": "10s", "backendRequest": "10s"},
                    "retry": {"attempts": 3, "backoff": "100ms", "codes": [500, 503]},
                    "sessionPersistence": {
                        "absoluteTimeout": "1h", "cookieConfig": {"lifetimeType": "Permanent"}, "sessionName": "s"},
                },
                {
                    "name": "second",
                    "matches": [{"path": {"value": "/old"}}],
                    "filters": [{"type": "RequestRedirect", "requestRedirect": {
                        "scheme": "https", "hostname": "example.com", "port": 443, "statusCode": 301,
                        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}}],
                },
                {
                    "matches": [{"path": {"value": "/api"}}],
                    "filters": [{"type": "URLRewrite", "urlRewrite": {
                        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}],
                    "backendRefs": [{"name": "web", "port": 80, "filters": [{"type": "URLRewrite", "urlRewrite": {
                        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}]}],
                },
            ],
        }),
    )
}

fn grpc_route() -> Value {
    gateway_api(
        "GRPCRoute",
        json!({
            "parentRefs": [{"name": "a"}],
            "rules": [{
                "matches": [
                    {"method": {"service": "a.B", "method": "Echo"}, "headers": [{"name": "x", "value": "any \u{e9}"}]},
                    {"method": {"type": "RegularExpression", "service": "a-.*"}},
                ],
                "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": {"remove": ["c"]}}],
                "backendRefs": [{"name": "web", "port": 80}],
            }],
        }),
    )
}

fn tls_route() -> Value {
    gateway_api(
        "TLSRoute",
        json!({"parentRefs": [{"name": "a"}], "hostnames": ["example.com"],
            "rules": [{"backendRefs": [{"name": "web", "port": 443}]}]}),
    )
}

fn tcp_route() -> Value {
    gateway_api(
        "TCPRoute",
        json!({"parentRefs": [{"name": "a"}], "rules": [{"backendRefs": [{"name": "db", "port": 5432}]}]}),
    )
}

fn reference_grant() -> Value {
    gateway_api(
        "ReferenceGrant",
        json!({
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "web"}],
            "to": [{"group": "", "kind": "Service"}],
        }),
    )
}

fn backend_tls_policy() -> Value {
    gateway_api(
        "BackendTLSPolicy",
        json!({
            "targetRefs": [
                {"group": "", "kind": "Service", "name": "web", "sectionName": "a"},
                {"group": "", "kind": "Service", "name": "web", "sectionName": "b"},
            ],
            "validation": {
                "hostname": "example.com",
                "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
                "subjectAltNames": [
                    {"type": "Hostname", "hostname": "*.example.com"}, {"type": "URI", "uri": "spiffe://example.com/a"},
                ],
            },
        }),
    )
}

fn xbackend() -> Value {
    object(
        "gateway.networking.x-k8s.io/v1alpha1",
        "XBackend",
        json!({
            "type": "ExternalHostname", "externalHostname": {"hostname": "example.com"},
            "port": {"port": 443, "name": "https"}, "protocol": "HTTP",
            "tls": {"mode": "ClientAndServer", "clientCertificateRef": {"name": "client"},
                "validation": {"hostname": "example.com", "wellKnownCACertificates": "System"}},
        }),
    )
}

fn service() -> Value {
    object(
        "v1",
        "Service",
        json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [
            {"name": "http", "port": 80, "targetPort": "http"}, {"name": "dns", "port": 80, "protocol": "UDP"},
        ]}),
    )
}

fn endpoint_slice() -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "x", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": 8080}],
    })
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "type": "kubernetes.io/tls",
        "data": {"tls.crt": "aGk="}, "stringData": {"tls.key": "hi"},
    })
}

fn config_map() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"ca.crt": "text"}})
}

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": {"a": "b"}}})
}

fn udp_route() -> Value {
    let mut route = tcp_route();
    route["kind"] = json!("UDPRoute");
    route
}

#[test]
fn objects_that_are_right_are_admitted_in_every_served_version() {
    let good = [
        (gateway_class(), &["v1beta1"][..]),
        (gateway(), &["v1beta1"]),
        (listener_set(), &[]),
        (http_route(), &["v1beta1"]),
        (grpc_route(), &[]),
        (tls_route(), &["v1alpha2", "v1alpha3"]),
        (tcp_route(), &["v1alpha2"]),
        (udp_route(), &["v1alpha2"]),
        (reference_grant(), &["v1beta1"]),
        (backend_tls_policy(), &["v1alpha3"]),
        (xbackend(), &[]),
        (service(), &[]),
        (endpoint_slice(), &[]),
        (secret(), &[]),
        (config_map(), &[]),
        (namespace(), &[]),
    ];
    for (mut value, versions) in good {
        assert_eq!(found(&value), [], "{value}");
        for version in versions {
            value["apiVersion"] = json!(format!("gateway.networking.k8s.io/{version}"));
            assert_eq!(found(&value), [], "{value}");
        }
    }
}

/// What is changed, to what, and the code and field that this yields.
type Case = (&'static str, Value, Code, &'static str);

fn assert_cases(good: fn() -> Value, cases: Vec<Case>) {
    for (pointer, new, code, field) in cases {
        let mut value = good();
        let shown = format!("{pointer} = {new}");
        set(&mut value, pointer, new);
        assert_eq!(found(&value), [(code, field.to_owned())], "{shown}");
    }
}

#[test]
fn an_object_that_is_not_what_it_should_be_is_told_apart() {
    use Code::*;
    assert_cases(
        http_route,
        vec![
            ("/apiVersion", json!(null), NoKind, "apiVersion"),
            ("/kind", json!(7), NoKind, "kind"),
            ("/kind", json!("HTTPRouter"), KindUnknown, "kind"),
            ("/apiVersion", json!("gateway.networking.k8s.io/v1alpha2"), VersionNotServed, "apiVersion"),
            ("/metadata/name", json!(null), NoName, "metadata.name"),
            ("/metadata/name", json!("Web"), BadName, "metadata.name"),
            ("/metadata/name", json!("a".repeat(254)), BadName, "metadata.name"),
            ("/metadata/namespace", json!("a.b"), BadNamespace, "metadata.namespace"),
            ("/metadata/labels", json!({"a": 1}), WrongType, "metadata.labels.a"),
            ("/metadata/labels", json!({"a b": "c"}), Malformed, "metadata.labels[\"a b\"]"),
            ("/metadata/annotations", json!({"a/b": true}), WrongType, "metadata.annotations[\"a/b\"]"),
            ("/metadata/lables", json!({}), UnknownField, "metadata.lables"),
            ("/spec", json!(null), MissingField, "spec"),
            ("/specs", json!({}), UnknownField, "specs"),
        ],
    );
    assert_cases(
        gateway_class,
        vec![("/metadata/namespace", json!("a"), NamespaceIgnored, "metadata.namespace")],
    );
    assert_cases(service, vec![("/metadata/name", json!("a.b"), BadName, "metadata.name")]);
}

#[test]
fn the_gateways_rules_hold() {
    use Code::*;
    let long = "a".repeat(65);
    let listener = |name: &str| json!({"name": name, "port": 1, "protocol": "HTTP"});
    let many: Vec<Value> =
        (1..=65).map(|port| json!({"name": format!("l{port}"), "port": port, "protocol": "HTTP"})).collect();
    let annotations: Map<String, Value> = (0..17).map(|n| (format!("a{n}"), json!(""))).collect();
    assert_cases(
        gateway_class,
        vec![
            ("/spec/controllerName", json!("example"), Malformed, "spec.controllerName"),
            ("/spec/description", json!(long), TooLong, "spec.description"),
            (
                "/spec/parametersRef",
                json!({"group": "", "kind": "A"}),
                MissingField,
                "spec.parametersRef.name",
            ),
        ],
    );
    assert_cases(
        gateway,
        vec![
            ("/spec/gatewayClassName", json!(""), TooShort, "spec.gatewayClassName"),
            ("/spec/gatewayClassName", json!(null), MissingField, "spec.gatewayClassName"),
            ("/spec/listeners", json!([]), TooFewItems, "spec.listeners"),
            ("/spec/listeners", json!(many), TooManyItems, "spec.listeners"),
            ("/spec/listeners", json!({}), WrongType, "spec.listeners"),
            ("/spec/listeners/5", listener("http"), DuplicateItem, "spec.listeners[5].name"),
            ("/spec/listeners/0/name", json!("HTTP"), Malformed, "spec.listeners[0].name"),
            ("/spec/listeners/0/port", json!(0), TooSmall, "spec.listeners[0].port"),
            ("/spec/listeners/0/port", json!(65536), TooLarge, "spec.listeners[0].port"),
            ("/spec/listeners/0/port", json!(u64::MAX), TooLarge, "spec.listeners[0].port"),
            ("/spec/listeners/0/port", json!(1e20), TooLarge, "spec.listeners[0].port"),
            ("/spec/listeners/0/port", json!(-1e20), TooSmall, "spec.listeners[0].port"),
            ("/spec/listeners/0/port", json!(80.5), WrongType, "spec.listeners[0].port"),
            ("/spec/listeners/0/port", json!("80"), WrongType, "spec.listeners[0].port"),
            ("/spec/listeners/0/port", json!(80.5), WrongType, "spec.listeners[0].port"),
            ("/spec/listeners/0/protocol", json!("a b"), Malformed, "spec.listeners[0].protocol"),
            ("/spec/listeners/0/hostName", json!("a"), UnknownField, "spec.listeners[0].hostName"),
            ("/spec/listeners/0/hostname", json!("a_b"), Malformed, "spec.listeners[0].hostname"),
            (
                "/spec/listeners/0/tls",
                json!({"options": {"a": "b"}}),
                TlsOnPlaintext,
                "spec.listeners[0].tls",
            ),
            (
                "/spec/listeners/1/tls/mode",
                json!("Passthrough"),
                HttpsNotTerminated,
                "spec.listeners[1].tls.mode",
            ),
            ("/spec/listeners/1/tls/mode", json!("Other"), NotOneOf, "spec.listeners[1].tls.mode"),
            ("/spec/listeners/1/tls/certificateRefs", json!([]), NoCertificate, "spec.listeners[1].tls"),
            (
                "/spec/listeners/1/tls/certificateRefs/0/name",
                json!(null),
                MissingField,
                "spec.listeners[1].tls.certificateRefs[0].name",
            ),
            ("/spec/listeners/2/tls", json!(null), TlsWithoutMode, "spec.listeners[2].tls"),
            ("/spec/listeners/2/tls/mode", json!(null), NoCertificate, "spec.listeners[2].tls"),
            (
                "/spec/listeners/2/allowedRoutes/namespaces/from",
                json!("None"),
                NotOneOf,
                "spec.listeners[2].allowedRoutes.namespaces.from",
            ),
            (
                "/spec/listeners/2/allowedRoutes/kinds/0/kind",
                json!("-"),
                Malformed,
                "spec.listeners[2].allowedRoutes.kinds[0].kind",
            ),
            ("/spec/listeners/3/hostname", json!("a"), HostnameOnLayer4, "spec.listeners[3].hostname"),
            (
                "/spec/listeners/5",
                json!({"name": "again", "port": 80, "protocol": "HTTP"}),
                ListenerClash,
                "spec.listeners[5]",
            ),
            ("/spec/addresses/0/value", json!("1.2.3"), AddressNotIp, "spec.addresses[0].value"),
            ("/spec/addresses/2/value", json!("a:80"), AddressNotHostname, "spec.addresses[2].value"),
            ("/spec/addresses/0/value", json!("::1"), DuplicateAddress, "spec.addresses[1]"),
            ("/spec/addresses/4/type", json!("pool"), Malformed, "spec.addresses[4].type"),
            (
                "/spec/allowedListeners/namespaces/from",
                json!("Any"),
                NotOneOf,
                "spec.allowedListeners.namespaces.from",
            ),
            (
                "/spec/infrastructure/labels",
                json!({"a/": "b"}),
                Malformed,
                "spec.infrastructure.labels[\"a/\"]",
            ),
            ("/spec/infrastructure/labels", json!({"a": "b c"}), Malformed, "spec.infrastructure.labels.a"),
            (
                "/spec/infrastructure/annotations",
                json!(annotations),
                TooManyEntries,
                "spec.infrastructure.annotations",
            ),
            ("/spec/tls/frontend/default", json!(null), MissingField, "spec.tls.frontend.default"),
            (
                "/spec/tls/frontend/default/validation/caCertificateRefs",
                json!([]),
                TooFewItems,
                "spec.tls.frontend.default.validation.caCertificateRefs",
            ),
            (
                "/spec/tls/frontend/perPort/1/port",
                json!(443),
                DuplicateItem,
                "spec.tls.frontend.perPort[1].port",
            ),
            (
                "/spec/tls/frontend/perPort/1/tls/validation/mode",
                json!("Allow"),
                NotOneOf,
                "spec.tls.frontend.perPort[1].tls.validation.mode",
            ),
        ],
    );
    assert_cases(
        listener_set,
        vec![
            ("/spec/parentRef", json!(null), MissingField, "spec.parentRef"),
            ("/spec/listeners/0/port", json!(null), MissingField, "spec.listeners[0].port"),
            (
                "/spec/listeners/1",
                json!({"name": "b", "port": 80, "protocol": "HTTP"}),
                ListenerClash,
                "spec.listeners[1]",
            ),
        ],
    );
}

#[test]
fn the_http_routes_rules_hold() {
    use Code::*;
    let path = |value: &str| json!({"value": value});
    let value_field = "spec.rules[0].matches[0].path.value";
    let seventeen: Vec<Value> = (0..17).map(|_| json!({})).collect();
    let many_matches: Vec<Value> = (0..3).map(|_| json!({"matches": vec![json!({}); 43]})).collect();
    let modifier = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {}});
    let rewrite = json!({"type": "URLRewrite", "urlRewrite": {}});
    let redirect = json!({"type": "RequestRedirect", "requestRedirect": {}});
    let prefix = json!({"type": "URLRewrite", "urlRewrite": {
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}});
    let full = json!({"type": "ReplaceFullPath", "replaceFullPath": "/x"});
    assert_cases(
        http_route,
        vec![
            ("/spec/parentRefs/2", json!({"name": "a"}), ParentNotDistinct, "spec.parentRefs[2]"),
            (
                "/spec/parentRefs/2",
                json!({"name": "a", "sectionName": "x"}),
                ParentTwice,
                "spec.parentRefs[2]",
            ),
            ("/spec/parentRefs/2/port", json!(0), TooSmall, "spec.parentRefs[2].port"),
            ("/spec/parentRefs/2/namespace", json!("A"), Malformed, "spec.parentRefs[2].namespace"),
            ("/spec/hostnames/0", json!("Example.com"), Malformed, "spec.hostnames[0]"),
            ("/spec/rules", json!([]), TooFewItems, "spec.rules"),
            ("/spec/rules", json!(seventeen), TooManyItems, "spec.rules"),
            ("/spec/rules", json!(many_matches), TooManyMatches, "spec.rules"),
            ("/spec/rules/1/name", json!("first"), RuleNameTwice, "spec.rules[1].name"),
            ("/spec/rules/0/matches/0/path", path("a"), PathNotAbsolute, value_field),
            ("/spec/rules/0/matches/0/path", path(""), PathNotAbsolute, value_field),
            ("/spec/rules/0/matches/0/path", path("/a//b"), PathNotCanonical, value_field),
            ("/spec/rules/0/matches/0/path", path("/a/./b"), PathNotCanonical, value_field),
            ("/spec/rules/0/matches/0/path", path("/a/../b"), PathNotCanonical, value_field),
            ("/spec/rules/0/matches/0/path", path("/a%2fb"), PathNotCanonical, value_field),
            ("/spec/rules/0/matches/0/path", path("/a%2Fb"), PathNotCanonical, value_field),
            ("/spec/rules/0/matches/0/path", path("/a#b"), PathNotCanonical, value_field),
            ("/spec/rules/0/matches/0/path", path("/a/.."), PathNotCanonical, value_field),
            ("/spec/rules/0/matches/0/path", path("/a/."), PathNotCanonical, value_field),
            ("/spec/rules/0/matches/0/path", path("/a b"), PathCharacters, value_field),
            (
                "/spec/rules/0/matches/0/path/type",
                json!("Prefix"),
                NotOneOf,
                "spec.rules[0].matches[0].path.type",
            ),
            ("/spec/rules/0/matches/0/method", json!("get"), NotOneOf, "spec.rules[0].matches[0].method"),
            (
                "/spec/rules/0/matches/0/headers/1",
                json!({"name": "x", "value": "z"}),
                DuplicateItem,
                "spec.rules[0].matches[0].headers[1].name",
            ),
            (
                "/spec/rules/0/matches/0/headers/0/value",
                json!(" y"),
                Malformed,
                "spec.rules[0].matches[0].headers[0].value",
            ),
            (
                "/spec/rules/0/matches/0/queryParams/0/name",
                json!("a b"),
                Malformed,
                "spec.rules[0].matches[0].queryParams[0].name",
            ),
            (
                "/spec/rules/0/backendRefs/0/port",
                json!(null),
                BackendWithoutPort,
                "spec.rules[0].backendRefs[0].port",
            ),
            (
                "/spec/rules/0/backendRefs/0/weight",
                json!(1_000_001),
                TooLarge,
                "spec.rules[0].backendRefs[0].weight",
            ),
            (
                "/spec/rules/0/backendRefs/0/weight",
                json!(-1),
                TooSmall,
                "spec.rules[0].backendRefs[0].weight",
            ),
            (
                "/spec/rules/0/timeouts/backendRequest",
                json!("11s"),
                BackendTimeoutLonger,
                "spec.rules[0].timeouts.backendRequest",
            ),
            ("/spec/rules/0/timeouts/request", json!("1.5s"), Malformed, "spec.rules[0].timeouts.request"),
            ("/spec/rules/0/retry/attempts", json!(0), TooSmall, "spec.rules[0].retry.attempts"),
            ("/spec/rules/0/retry/codes", json!([500, 500]), DuplicateValue, "spec.rules[0].retry.codes[1]"),
            ("/spec/rules/0/retry/codes", json!([399]), TooSmall, "spec.rules[0].retry.codes[0]"),
            (
                "/spec/rules/0/sessionPersistence/absoluteTimeout",
                json!(null),
                PermanentWithoutTimeout,
                "spec.rules[0].sessionPersistence.absoluteTimeout",
            ),
            (
                "/spec/rules/0/sessionPersistence/type",
                json!("Header"),
                CookieSettingsOnHeader,
                "spec.rules[0].sessionPersistence.cookieConfig",
            ),
            ("/spec/rules/0/filters/7", modifier, FilterRepeated, "spec.rules[0].filters[7]"),
            ("/spec/rules/0/filters/0/type", json!("Other"), NotOneOf, "spec.rules[0].filters[0].type"),
            ("/spec/rules/0/filters/0/cors", json!({}), FilterOfOtherType, "spec.rules[0].filters[0].cors"),
            (
                "/spec/rules/0/filters/4/cors",
                json!(null),
                FilterWithoutSettings,
                "spec.rules[0].filters[4].cors",
            ),
            ("/spec/rules/0/filters/7", redirect.clone(), RedirectWithBackends, "spec.rules[0].filters[7]"),
            ("/spec/rules/1/filters/1", rewrite, RedirectAndRewrite, "spec.rules[1].filters[1]"),
            ("/spec/rules/2/filters/0", redirect, RedirectWithBackends, "spec.rules[2].filters[0]"),
            (
                "/spec/rules/0/filters/7",
                prefix.clone(),
                PrefixNotUnique,
                "spec.rules[0].filters[7].urlRewrite.path",
            ),
            (
                "/spec/rules/1/matches/1",
                json!({}),
                PrefixNotUnique,
                "spec.rules[1].filters[0].requestRedirect.path",
            ),
            (
                "/spec/rules/1/matches/0/path/type",
                json!("Exact"),
                PrefixNotUnique,
                "spec.rules[1].filters[0].requestRedirect.path",
            ),
            (
                "/spec/rules/0/backendRefs/0/filters",
                json!([prefix]),
                PrefixNotUnique,
                "spec.rules[0].backendRefs[0].filters[0].urlRewrite.path",
            ),
            (
                "/spec/rules/1/filters/0/requestRedirect/path",
                json!({"type": "ReplaceFullPath"}),
                PathChangeIncomplete,
                "spec.rules[1].filters[0].requestRedirect.path.replaceFullPath",
            ),
            (
                "/spec/rules/1/filters/0/requestRedirect/path/replaceFullPath",
                json!("/"),
                PathChangeOfOtherType,
                "spec.rules[1].filters[0].requestRedirect.path.replaceFullPath",
            ),
            (
                "/spec/rules/1/filters/0/requestRedirect/statusCode",
                json!(304),
                NotOneOf,
                "spec.rules[1].filters[0].requestRedirect.statusCode",
            ),
            (
                "/spec/rules/1/filters/0/requestRedirect/hostname",
                json!("*.a"),
                Malformed,
                "spec.rules[1].filters[0].requestRedirect.hostname",
            ),
            (
                "/spec/rules/1/filters/0/requestRedirect/scheme",
                json!("ftp"),
                NotOneOf,
                "spec.rules[1].filters[0].requestRedirect.scheme",
            ),
            (
                "/spec/rules/2/filters/0/urlRewrite/path/replaceFullPath",
                full["replaceFullPath"].clone(),
                PathChangeOfOtherType,
                "spec.rules[2].filters[0].urlRewrite.path.replaceFullPath",
            ),
            (
                "/spec/rules/0/filters/0/requestHeaderModifier/set/1",
                json!({"name": "a", "value": "c"}),
                DuplicateItem,
                "spec.rules[0].filters[0].requestHeaderModifier.set[1].name",
            ),
            (
                "/spec/rules/0/filters/0/requestHeaderModifier/remove/1",
                json!("c"),
                DuplicateValue,
                "spec.rules[0].filters[0].requestHeaderModifier.remove[1]",
            ),
            (
                "/spec/rules/0/filters/2/requestMirror/fraction",
                json!({"numerator": 1}),
                MirrorShareTwice,
                "spec.rules[0].filters[2].requestMirror.fraction",
            ),
            (
                "/spec/rules/0/filters/2/requestMirror/percent",
                json!(101),
                TooLarge,
                "spec.rules[0].filters[2].requestMirror.percent",
            ),
            (
                "/spec/rules/0/filters/2/requestMirror/backendRef/port",
                json!(null),
                BackendWithoutPort,
                "spec.rules[0].filters[2].requestMirror.backendRef.port",
            ),
            (
                "/spec/rules/0/filters/3/requestMirror/fraction/numerator",
                json!(11),
                FractionAboveOne,
                "spec.rules[0].filters[3].requestMirror.fraction.numerator",
            ),
            (
                "/spec/rules/0/filters/3/requestMirror/fraction/denominator",
                json!(0),
                TooSmall,
                "spec.rules[0].filters[3].requestMirror.fraction.denominator",
            ),
            (
                "/spec/rules/0/filters/4/cors/allowMethods/1",
                json!("GET"),
                WildcardNotAlone,
                "spec.rules[0].filters[4].cors.allowMethods[0]",
            ),
            (
                "/spec/rules/0/filters/4/cors/allowHeaders/1",
                json!("*"),
                WildcardNotAlone,
                "spec.rules[0].filters[4].cors.allowHeaders[1]",
            ),
            (
                "/spec/rules/0/filters/4/cors/allowOrigins/1",
                json!("*"),
                WildcardNotAlone,
                "spec.rules[0].filters[4].cors.allowOrigins[1]",
            ),
            (
                "/spec/rules/0/filters/4/cors/allowOrigins/0",
                json!("example.com"),
                Malformed,
                "spec.rules[0].filters[4].cors.allowOrigins[0]",
            ),
            (
                "/spec/rules/0/filters/4/cors/maxAge",
                json!(0),
                TooSmall,
                "spec.rules[0].filters[4].cors.maxAge",
            ),
            (
                "/spec/rules/0/filters/4/cors/allowCredentials",
                json!("yes"),
                WrongType,
                "spec.rules[0].filters[4].cors.allowCredentials",
            ),
            (
                "/spec/rules/0/filters/6/externalAuth/grpc",
                json!({}),
                AuthOfOtherProtocol,
                "spec.rules[0].filters[6].externalAuth.grpc",
            ),
            (
                "/spec/rules/0/filters/6/externalAuth/http",
                json!(null),
                AuthOfOtherProtocol,
                "spec.rules[0].filters[6].externalAuth.http",
            ),
            (
                "/spec/rules/0/filters/6/externalAuth/http/path",
                json!("/[]"),
                Malformed,
                "spec.rules[0].filters[6].externalAuth.http.path",
            ),
        ],
    );
}

#[test]
fn the_other_routes_rules_hold() {
    use Code::*;
    assert_cases(
        grpc_route,
        vec![
            (
                "/spec/rules/0/matches/0/method",
                json!({}),
                MethodMatchEmpty,
                "spec.rules[0].matches[0].method",
            ),
            (
                "/spec/rules/0/matches/0/method/service",
                json!("a-b"),
                MethodMatchCharacters,
                "spec.rules[0].matches[0].method.service",
            ),
            (
                "/spec/rules/0/matches/0/method/method",
                json!("a.b"),
                MethodMatchCharacters,
                "spec.rules[0].matches[0].method.method",
            ),
            ("/spec/rules/0/filters/0/type", json!("URLRewrite"), NotOneOf, "spec.rules[0].filters[0].type"),
            (
                "/spec/rules/0/backendRefs/0/port",
                json!(null),
                BackendWithoutPort,
                "spec.rules[0].backendRefs[0].port",
            ),
            ("/spec/rules/0/timeouts", json!({}), UnknownField, "spec.rules[0].timeouts"),
        ],
    );
    assert_cases(
        tls_route,
        vec![
            ("/spec/hostnames", json!(null), MissingField, "spec.hostnames"),
            ("/spec/hostnames/0", json!("1.2.3.4"), HostnameIsIp, "spec.hostnames[0]"),
            (
                "/spec/rules/1",
                json!({"backendRefs": [{"name": "web", "port": 443}]}),
                TooManyItems,
                "spec.rules",
            ),
            ("/spec/rules/0/backendRefs", json!([]), TooFewItems, "spec.rules[0].backendRefs"),
        ],
    );
    assert_cases(
        tcp_route,
        vec![
            ("/spec/rules", json!(null), MissingField, "spec.rules"),
            (
                "/spec/rules/0/backendRefs/0/port",
                json!(null),
                BackendWithoutPort,
                "spec.rules[0].backendRefs[0].port",
            ),
            ("/spec/hostnames", json!([]), UnknownField, "spec.hostnames"),
        ],
    );
}

#[test]
fn an_older_version_follows_its_own_rules() {
    let rule = json!({"name": "a", "backendRefs": [{"name": "web", "port": 443}]});
    let mut route = tls_route();
    route["apiVersion"] = json!("gateway.networking.k8s.io/v1alpha2");
    route["spec"] = json!({"parentRefs": [{"name": "a"}], "rules": [rule, {"name": "b", "backendRefs": [{"name": "web", "port": 443}]}]});
    assert_eq!(found(&route), []);
    route["spec"]["rules"][1] = rule;
    assert_eq!(found(&route), [(Code::RuleNameTwice, "spec.rules[1].name".to_owned())]);
}

#[test]
fn the_policies_rules_hold() {
    use Code::*;
    let target =
        |section: &str| json!({"group": "", "kind": "Service", "name": "web", "sectionName": section});
    let whole = json!({"group": "", "kind": "Service", "name": "web"});
    assert_cases(
        reference_grant,
        vec![
            ("/spec/from", json!([]), TooFewItems, "spec.from"),
            ("/spec/to", json!(null), MissingField, "spec.to"),
            ("/spec/from/0/namespace", json!(null), MissingField, "spec.from[0].namespace"),
            ("/spec/from/0/namespace", json!("*"), Malformed, "spec.from[0].namespace"),
        ],
    );
    assert_cases(
        backend_tls_policy,
        vec![
            ("/spec/targetRefs/1", whole, TargetNotDistinct, "spec.targetRefs[1]"),
            ("/spec/targetRefs/1", target("a"), TargetTwice, "spec.targetRefs[1]"),
            ("/spec/validation/wellKnownCACertificates", json!("System"), CaTwice, "spec.validation"),
            (
                "/spec/validation/wellKnownCACertificates",
                json!("Other"),
                Malformed,
                "spec.validation.wellKnownCACertificates",
            ),
            ("/spec/validation/caCertificateRefs", json!([]), CaMissing, "spec.validation"),
            ("/spec/validation/hostname", json!("*.a"), Malformed, "spec.validation.hostname"),
            (
                "/spec/validation/subjectAltNames/0/hostname",
                json!(null),
                SubjectOfOtherType,
                "spec.validation.subjectAltNames[0].hostname",
            ),
            (
                "/spec/validation/subjectAltNames/0/uri",
                json!("a://b"),
                SubjectOfOtherType,
                "spec.validation.subjectAltNames[0].uri",
            ),
            (
                "/spec/validation/subjectAltNames/1/uri",
                json!("a"),
                Malformed,
                "spec.validation.subjectAltNames[1].uri",
            ),
        ],
    );
    assert_cases(
        xbackend,
        vec![
            ("/spec/externalHostname", json!(null), ExternalHostnameMismatch, "spec.externalHostname"),
            (
                "/spec/externalHostname/hostname",
                json!("a.svc.cluster.local"),
                HostnameInCluster,
                "spec.externalHostname.hostname",
            ),
            (
                "/spec/tls/mode",
                json!("ServerOnly"),
                ClientCertificateMismatch,
                "spec.tls.clientCertificateRef",
            ),
            (
                "/spec/tls/clientCertificateRef",
                json!(null),
                ClientCertificateMismatch,
                "spec.tls.clientCertificateRef",
            ),
            ("/spec/port/name", json!("A"), Malformed, "spec.port.name"),
            ("/spec/protocol", json!("HTTP3"), NotOneOf, "spec.protocol"),
        ],
    );
}

#[test]
fn the_rules_for_kinds_of_kubernetes_hold() {
    use Code::*;
    assert_cases(
        service,
        vec![
            ("/spec/ports/0/name", json!(null), ServicePortWithoutName, "spec.ports[0].name"),
            ("/spec/ports/1/name", json!("http"), ServicePortTwice, "spec.ports[1].name"),
            ("/spec/ports/1/protocol", json!("TCP"), ServicePortTwice, "spec.ports[1].port"),
            ("/spec/ports/0/targetPort", json!(true), WrongType, "spec.ports[0].targetPort"),
            ("/spec/type", json!("ExternalName"), ExternalNameMissing, "spec.externalName"),
            ("/spec/type", json!("Cluster"), NotOneOf, "spec.type"),
            ("/spec/clusterIP", json!("none"), ClusterIpMalformed, "spec.clusterIP"),
            ("/spec/clusterIPs", json!(["a"]), ClusterIpMalformed, "spec.clusterIPs[0]"),
            ("/spec/selectors", json!({}), UnknownField, "spec.selectors"),
        ],
    );
    assert_cases(
        endpoint_slice,
        vec![
            ("/addressType", json!("IPv6"), EndpointOfOtherFamily, "endpoints[0].addresses[0]"),
            ("/endpoints/0/addresses", json!([]), TooFewItems, "endpoints[0].addresses"),
            ("/metadata/labels", json!({}), SliceWithoutService, "metadata.labels"),
            ("/endpoints/0/conditions/ready", json!("true"), WrongType, "endpoints[0].conditions.ready"),
        ],
    );
    assert_cases(
        secret,
        vec![
            ("/data/tls.crt", json!("hi"), NotBase64, "data[\"tls.crt\"]"),
            ("/stringData", json!({}), TlsSecretIncomplete, "data"),
        ],
    );
    assert_cases(config_map, vec![("/data/a b", json!("c"), Malformed, "data[\"a b\"]")]);
}

#[test]
fn the_port_of_a_slice_needs_no_name() {
    let mut slice = endpoint_slice();
    slice["ports"] = json!([{"port": 8080}]);
    assert_eq!(found(&slice), []);
}

#[test]
fn a_finding_says_where_what_and_what_to_do() {
    let text = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: web
  namespace: shop
spec:
  rules:
  - backendRefs:
    - name: web
      prot: 80
    filter: []
  - matches:
    - path:
        value: \"a\"
    timeouts: {request: 5}
";
    let (documents, errors) = parse("in.yaml".into(), text);
    assert_eq!(errors, []);
    let shown: Vec<_> = admit(documents).findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "in.yaml:9:7: error[RW1405] HTTPRoute/shop/web: spec.rules[0].backendRefs[0].port: a reference to a \
             Service without a port; add `port`",
            "in.yaml:10:7: warning[RW1203] HTTPRoute/shop/web: spec.rules[0].backendRefs[0].prot: there is no such \
             field; did you mean `port`?",
            "in.yaml:11:5: warning[RW1203] HTTPRoute/shop/web: spec.rules[0].filter: there is no such field; did \
             you mean `filters`?",
            "in.yaml:14:9: error[RW1414] HTTPRoute/shop/web: spec.rules[1].matches[0].path.value: \"a\" does not \
             start with `/`; start it with `/`",
            "in.yaml:15:16: error[RW1202] HTTPRoute/shop/web: spec.rules[1].timeouts.request: is an integer, not a \
             string; quote it: \"5\"",
        ]
    );
}

#[test]
fn a_number_with_too_many_digits_is_too_large_and_no_fraction() {
    let text =
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 99999999999999999999}]}}";
    let (documents, errors) = parse("in.yaml".into(), text);
    assert_eq!(errors, []);
    let shown: Vec<_> = admit(documents).findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["in.yaml:1:70: error[RW1210] Service/default/a: spec.ports[0].port: is more than 65535; lower it"]
    );
}

#[test]
fn a_slip_in_the_name_of_a_kind_is_no_kind_of_others() {
    for (api_version, kind, expected) in [
        (
            "gateway.networking.k8s.io/v1",
            "HTPRoute",
            "warning[RW1109] HTPRoute/x: kind: there is no kind HTPRoute in gateway.networking.k8s.io, so the object \
             is skipped; did you mean `HTTPRoute`?",
        ),
        (
            "gateway.networking.k8s.io/v1alpha1",
            "XBackend",
            "there is no kind XBackend in gateway.networking.k8s.io, so the object is skipped; did you mean \
             `apiVersion: gateway.networking.x-k8s.io/v1alpha1`, `kind: XBackend`?",
        ),
        ("gateway.networking.x-k8s.io/v1alpha1", "XListenerSet", "`kind: ListenerSet`?"),
        (
            "gateway.networking.k8s.io/v1",
            "Path",
            "; use one of GatewayClass, Gateway, ListenerSet, HTTPRoute,",
        ),
        ("gateway.networking.x-k8s.io/v1alpha1", "XMesh", "RW1110] XMesh/x: kind: XMesh is not served yet,"),
        ("networking.k8s.io/v1", "Gateway", "`apiVersion: gateway.networking.k8s.io/v1`, `kind: Gateway`?"),
        ("gateway.networkin.k8s.io/v1", "TCPRoute", "`apiVersion: gateway.networking.k8s.io/v1`"),
        ("gateway.networking.k8s.io", "UDPRoute", "no kind UDPRoute in the core API"),
        (
            "v1",
            "Servcie",
            "there is no kind Servcie in the core API, so the object is skipped; did you mean `Service`?",
        ),
        ("v1", "Pod", "notice[RW1102]"),
        ("v1", "ServiceAccount", "notice[RW1102]"),
        ("networking.k8s.io/v1", "Ingress", "notice[RW1102]"),
        ("networking.istio.io/v1", "Gateway", "notice[RW1102]"),
        ("policy.linkerd.io/v1beta3", "HTTPRoute", "notice[RW1102]"),
        (
            "apps/v1",
            "Deployment",
            "ringway does not read this kind, so the object is skipped; nothing to do, if it is meant for others",
        ),
    ] {
        let admitted = admit(vec![read(&object(api_version, kind, json!({})))]);
        let shown: Vec<_> = admitted.findings.iter().map(ToString::to_string).collect();
        assert!(matches!(&shown[..], [only] if only.contains(expected)), "{shown:?}");
        assert!(admitted.documents.is_empty(), "{kind} is skipped");
    }
}

#[test]
fn an_annotation_of_ours_that_is_not_known_or_not_there_is_told_with_the_one_that_was_meant() {
    let told = |mut value: Value, key: &str| {
        value["metadata"]["annotations"] = json!({key: "1"});
        let admitted = admit(vec![read(&value)]);
        assert_eq!(admitted.documents.len(), 1, "it is only a warning");
        admitted.findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (value, key, expected) in [
        (
            service(),
            "ringway.dev/max-conections",
            "warning[RW1111] Service/default/x: metadata.annotations[\"ringway.dev/max-conections\"]: there is no \
             such annotation, so it is ignored; did you mean `ringway.dev/max-connections`?",
        ),
        (http_route(), "ringway.dev/max-request-bodies", "did you mean `ringway.dev/max-request-body`?"),
        (
            http_route(),
            "ringway.dev/max-requests",
            "not read on HTTPRoute, so it is ignored; it belongs on Service or XBackend",
        ),
        (gateway(), "ringway.dev/anything-else", "so it is ignored; remove it, or check its spelling"),
    ] {
        let shown = told(value, key);
        assert!(matches!(&shown[..], [only] if only.contains(expected)), "{shown:?}");
    }
    for (value, key) in [
        (service(), "ringway.dev/max-connections"),
        (gateway(), "ringway.dev/max-request-body"),
        (service(), "example.com/max-conections"),
    ] {
        assert_eq!(told(value, key), Vec::<String>::new(), "{key}");
    }
}

#[test]
fn a_route_to_which_nothing_leads_and_what_default_gateways_would_be_for_are_told() {
    use Code::*;
    let without = |mut route: Value| {
        route["spec"]["parentRefs"] = json!([]);
        route
    };
    for route in [http_route, grpc_route, tls_route, tcp_route, udp_route] {
        assert_eq!(found(&without(route())), [(RouteWithoutParents, "spec".to_owned())]);
        for (scope, expected) in [("All", "spec.useDefaultGateways"), ("None", "spec")] {
            let mut route = without(route());
            route["spec"]["useDefaultGateways"] = json!(scope);
            assert_eq!(found(&route), [(RouteWithoutParents, expected.to_owned())]);
        }
    }
    assert_cases(
        http_route,
        vec![("/spec/useDefaultGateways", json!("All"), NotServedYet, "spec.useDefaultGateways")],
    );
    assert_cases(gateway, vec![("/spec/defaultScope", json!("All"), NotServedYet, "spec.defaultScope")]);
    let mut none = http_route();
    none["spec"]["useDefaultGateways"] = json!("None");
    assert_eq!(found(&none), []);
}

#[test]
fn a_wrong_type_does_not_hide_what_else_is_wrong() {
    let text = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: ringway
  listeners:
  - {name: a, port: '80', protocol: HTTP, tls: {mode: Passthrough}}
  - {name: b, port: 81, protocol: HTTP}
  - {name: d, port: 80, protocol: HTTPP}
";
    let admitted = admit(parse("in.yaml".into(), text).0);
    let found: Vec<_> =
        admitted.findings.iter().map(|finding| format!("{} {}", finding.code, finding.field)).collect();
    assert_eq!(found, ["RW1202 spec.listeners[0].port", "RW1301 spec.listeners[0].tls",]);
    assert!(admitted.documents.is_empty());
    let [draft] = &admitted.drafts[..] else { panic!("{:?}", admitted.drafts) };
    assert!(draft.document.object().unwrap().is_some(), "it can be translated");
    let at =
        |field: &str| Finding::new(Code::ListenerUnsupported, &draft.document, field.into(), "".into(), None);
    assert!(draft.hides(&at("spec.listeners[0].port")) && !draft.hides(&at("spec.listeners[0].protocol")));
    let large = admit(parse("in.yaml".into(), &text.replace("'80'", "99999")).0);
    assert_eq!((large.drafts.len(), large.findings.len()), (1, 1), "{:?}", large.findings);
    // Without what it must have, nothing can be made of it.
    let hopeless = admit(parse("in.yaml".into(), &text.replace("'80'", "[]")).0);
    assert!(hopeless.drafts.is_empty() && hopeless.findings.len() == 1, "{:?}", hopeless.findings);
}

#[test]
fn of_an_object_that_is_defined_before_there_is_no_draft() {
    let service = |port: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {{ports: [{{port: {port}}}]}}}}\n"
        )
    };
    for texts in [["1", "x"], ["x", "1"], ["x", "x"]] {
        let admitted = admit(parse("in.yaml".into(), &texts.map(service).concat()).0);
        assert_eq!(admitted.documents.len() + admitted.drafts.len(), 1, "{texts:?}");
    }
}

#[test]
fn what_is_sound_is_kept_with_defaults_and_namespace() {
    let text = "\
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a}, spec: {hostnames: null, parentRefs: [{name: b}]}}
---
{apiVersion: gateway.networking.k8s.io/v1beta1, kind: HTTPRoute, metadata: {name: a, namespace: default}, spec: {parentRefs: [{name: b}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: A}, spec: {parentRefs: [{name: b}]}}
---
{apiVersion: apps/v1, kind: Deployment}
";
    let (documents, _) = parse("in.yaml".into(), text);
    let admitted = admit(documents);
    assert_eq!(
        admitted.documents.into_iter().map(|document| document.value).collect::<Vec<_>>(),
        [json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": "a", "namespace": "default"},
            "spec": {
                "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "b"}],
                "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}],
            },
        })]
    );
    let codes: Vec<_> = admitted.findings.iter().map(|finding| (finding.code, finding.place.line)).collect();
    assert_eq!(codes, [(Code::DuplicateObject, 3), (Code::BadName, 5), (Code::KindSkipped, 7)]);
}

#[test]
fn defaults_are_those_of_the_api_server() {
    let mut gateway = gateway_api(
        "Gateway",
        json!({
            "gatewayClassName": "x", "addresses": [{"value": "1.2.3.4"}], "allowedListeners": {},
            "listeners": [{"name": "a", "port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "c"}]},
                "allowedRoutes": {"kinds": [{"kind": "HTTPRoute"}]}}],
        }),
    );
    apply_defaults(&mut gateway);
    assert_eq!(
        gateway["spec"],
        json!({
            "gatewayClassName": "x", "addresses": [{"type": "IPAddress", "value": "1.2.3.4"}],
            "allowedListeners": {"namespaces": {"from": "None"}},
            "listeners": [{
                "name": "a", "port": 443, "protocol": "HTTPS",
                "tls": {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": "c"}]},
                "allowedRoutes": {
                    "kinds": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}],
                    "namespaces": {"from": "Same"},
                },
            }],
        })
    );
    let mut route = gateway_api(
        "HTTPRoute",
        json!({"parentRefs": [{"name": "g"}], "rules": [
            {"matches": [{"method": "GET"}], "backendRefs": [{"name": "b", "port": 1}]}, {"matches": []},
        ]}),
    );
    apply_defaults(&mut route);
    assert_eq!(
        route["spec"],
        json!({
            "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}],
            "rules": [
                {
                    "matches": [{"method": "GET", "path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [{"group": "", "kind": "Service", "name": "b", "port": 1, "weight": 1}],
                },
                {"matches": []},
            ],
        })
    );
}

#[test]
fn defaults_change_nothing_the_second_time() {
    for good in
        [gateway_class, gateway, listener_set, http_route, grpc_route, tls_route, service, secret, xbackend]
    {
        let mut once = good();
        apply_defaults(&mut once);
        let mut twice = once.clone();
        apply_defaults(&mut twice);
        assert_eq!(once, twice);
    }
}

#[test]
fn findings_of_one_object_are_bounded() {
    let mut value = http_route();
    for field in 0..1000 {
        value["spec"][format!("unknown{field}")] = json!(1);
    }
    let found = found(&value);
    assert_eq!(found.len(), 101);
    assert!(found.iter().any(|(code, _)| *code == Code::MoreFindings));
}

/// Any JSON, with the words that the tables know, so that it gets far into them.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("spec"),
        Just("rules"),
        Just("matches"),
        Just("filters"),
        Just("backendRefs"),
        Just("path"),
        Just("type"),
        Just("value"),
        Just("name"),
        Just("listeners"),
        Just("tls"),
        Just("cors"),
        Just("parentRefs"),
        Just("metadata"),
        Just("labels"),
        Just("requestRedirect"),
        Just("urlRewrite"),
        Just("data"),
        Just("ports"),
        Just("endpoints"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        let key = prop_oneof![word.clone().prop_map(str::to_owned), ".{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// All pointers into a value.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    let step = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| pointers(value, &step(name), into)),
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, value)| pointers(value, &step(&index.to_string()), into));
        }
        _ => {}
    }
    into.push(at.to_owned());
}

proptest! {
    /// Whatever stands anywhere in an object, it is judged, its findings have places, and what is admitted
    /// decodes.
    #[test]
    fn nothing_in_an_object_makes_it_panic(kind in 0..16usize, at in any::<prop::sample::Index>(), new in any_json()) {
        let good = [
            gateway_class, gateway, listener_set, http_route, grpc_route, tls_route, tcp_route, udp_route,
            reference_grant, backend_tls_policy, xbackend, service, endpoint_slice, secret, config_map, namespace,
        ];
        let mut value = good[kind]();
        let mut all = Vec::new();
        pointers(&value, "", &mut all);
        if let Some(target) = value.pointer_mut(at.get(&all).as_str()) {
            *target = new;
        }
        let (documents, _) = parse("in.yaml".into(), &value.to_string());
        let admitted = admit(documents);
        for finding in admitted.findings {
            prop_assert!(finding.place.line >= 1 && finding.place.column >= 1);
        }
        for document in admitted.documents {
            let decoded = Object::decode(document.value);
            prop_assert!(matches!(&decoded, Ok(Some(_))), "{decoded:?}");
        }
    }

    /// Arbitrary text is documents or faults, never a panic; and all places lie within it.
    #[test]
    fn no_text_makes_it_panic(text in "([a-z&*!\\[\\]{}:,|>'\"#\\-? \t\n~<%.0-9]|\\PC){0,60}") {
        let (documents, errors) = parse("in.yaml".into(), &text);
        let lines = text.split(['\n', '\r']).count() as u32 + 1;
        for error in &errors {
            prop_assert!((1..=lines).contains(&error.place.line), "{error}");
        }
        for finding in admit(documents).findings {
            prop_assert!((1..=lines).contains(&finding.place.line), "{finding}");
        }
    }

    /// What JSON says is what is read.
    #[test]
    fn json_is_read_as_json(value in any_json()) {
        let text = serde_json::to_string_pretty(&json!({"value": value})).expect("a value can be written");
        let (documents, errors) = parse("in.yaml".into(), &text);
        prop_assert_eq!(&errors, &[]);
        prop_assert_eq!(&documents[0].value["value"], &value);
    }
}
