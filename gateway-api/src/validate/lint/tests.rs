//! What statuses say is found as findings, at their places.

use serde_json::json;

use super::super::{admit, shadowed};
use super::*;
use crate::manifest::parse;
use crate::translate::{Options, Status, Translator};
use crate::world::Changes;

const WORLD: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: ringway
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - name: https
    port: 443
    protocol: HTTPS
    tls:
      certificateRefs:
      - name: cert
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs:
  - {name: edge, sectionName: http}
  - {name: other}
  rules:
  - backendRefs:
    - {name: a, port: 80}
    - {name: b, namespace: shop, port: 80}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: tls}
spec:
  targetRefs: [{group: '', kind: Service, name: a}]
  validation: {hostname: example.com, wellKnownCACertificates: System}
";

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message})
}

fn shown(text: &str, statuses: impl IntoIterator<Item = (Kind, &'static str, Value)>) -> Vec<String> {
    let (documents, errors) = parse("in.yaml".into(), text);
    assert_eq!(errors, []);
    let admitted = admit(documents);
    assert_eq!(admitted.findings, []);
    let statuses = statuses.into_iter();
    let statuses =
        statuses.map(|(kind, name, status)| (ObjectKey::new(kind, "default", name), status)).collect();
    let findings = lint(&admitted.documents, &statuses, []);
    findings
        .iter()
        .map(|finding| {
            let Finding { code, place, field, message, .. } = finding;
            format!("{}:{} {code} {field}: {message}", place.line, place.column)
        })
        .collect()
}

#[test]
fn a_condition_is_told_at_the_fields_that_it_names() {
    let accepted = condition("Accepted", "True", "Accepted", "The route is accepted");
    let resolved = condition(
        "ResolvedRefs",
        "False",
        "BackendNotFound",
        "spec.rules[0].backendRefs[0]: Service default/a not found; spec.rules[0].backendRefs[1]: no ReferenceGrant \
             lets this HTTPRoute use Service shop/b; and 2 more",
    );
    let parent = |section: Option<&str>, conditions: &[&Value]| {
        let mut reference = json!({"name": "edge"});
        if let Some(section) = section {
            reference["sectionName"] = json!(section);
        }
        json!({"parentRef": reference, "controllerName": "x/y", "conditions": conditions})
    };
    let gateway = json!({
        "conditions": [
            condition("Accepted", "True", "ListenersNotValid", "Listeners that are not accepted: https; accepted: http"),
            condition("ResolvedRefs", "False", "ListenersNotResolved", "References of listeners: https"),
        ],
        "listeners": [
            {"name": "http", "attachedRoutes": 1, "conditions": [
                condition("Accepted", "True", "Accepted", "The listener is accepted"),
            ]},
            {"name": "https", "attachedRoutes": 0, "conditions": [
                condition("ResolvedRefs", "False", "InvalidCertificateRef",
                    "tls.certificateRefs[0]: Secret default/cert not found"),
                condition("Programmed", "False", "Invalid", "tls.certificateRefs[0]: Secret default/cert not found"),
            ]},
        ],
    });
    let route = json!({"parents": [parent(Some("http"), &[&accepted, &resolved])]});
    assert_eq!(
        shown(WORLD, [(Kind::Gateway, "edge", gateway), (Kind::HTTPRoute, "web", route)]),
        [
            "13:9 RW2104 spec.listeners[1].tls.certificateRefs[0]: Secret default/cert not found",
            "21:5 RW2201 spec.parentRefs[1]: Gateway default/other not found",
            "24:7 RW2210 spec.rules[0].backendRefs[0]: Service default/a not found",
            "25:7 RW2211 spec.rules[0].backendRefs[1]: no ReferenceGrant lets this HTTPRoute use Service shop/b; \
                 and 2 more",
            "31:16 RW2301 spec.targetRefs[0]: Service default/a not found",
        ]
    );
}

#[test]
fn what_has_no_status_is_nobodys() {
    let text = "\
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: a}, spec: {controllerName: x/y}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}, spec: {gatewayClassName: a, listeners: [{name: a, port: 1, protocol: HTTP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: b}, spec: {gatewayClassName: b, listeners: [{name: a, port: 1, protocol: HTTP}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: a}, spec: {parentRefs: [{name: a}, {kind: Service, group: '', name: a}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: ListenerSet, metadata: {name: a}, spec: {parentRef: {name: c, namespace: d}, listeners: [{name: a, port: 1, protocol: HTTP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 1}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {name: a}, spec: {targetRefs: [{group: '', kind: Service, name: a}], validation: {hostname: a, wellKnownCACertificates: System}}}
---
{apiVersion: gateway.networking.x-k8s.io/v1alpha1, kind: XBackend, metadata: {name: a}, spec: {type: ExternalHostname, externalHostname: {hostname: a}, port: {port: 1}}}
";
    let told: Vec<String> = shown(text, [])
        .iter()
        .map(|shown| shown.split_once(' ').expect("place and finding").1.to_owned())
        .collect();
    assert_eq!(
        told,
        [
            "RW2002 spec.gatewayClassName: GatewayClass a is another controller's",
            "RW2001 spec.gatewayClassName: GatewayClass b not found",
            "RW2202 spec.parentRefs[0]: Gateway default/a is not served by ringway",
            "RW2202 spec.parentRefs[1]: Service default/a is not served by ringway",
            "RW2201 spec.parentRef: Gateway d/c not found",
            "RW2305 spec.targetRefs: no route of ringway's leads to its targets",
            "RW2307 : no route leads here",
        ]
    );
}

/// Where a condition is found in a status: of the Gateway, of its listener, or of a parent of the route.
fn one(place: &str, condition: Value) -> Vec<String> {
    let sound = json!([]);
    let (gateway, listener, route) = match place {
        "gateway" => (json!([condition]), sound.clone(), sound),
        "listener" => (sound.clone(), json!([condition]), sound),
        _ => (sound.clone(), sound, json!([condition])),
    };
    let parent =
        |reference: Value| json!({"parentRef": reference, "controllerName": "x/y", "conditions": route});
    let statuses = [
        (
            Kind::Gateway,
            "edge",
            json!({"conditions": gateway, "listeners": [
                {"name": "http", "attachedRoutes": 1, "conditions": listener}]}),
        ),
        (
            Kind::HTTPRoute,
            "web",
            json!({"parents": [
                parent(json!({"name": "edge", "sectionName": "http", "kind": "Gateway"})), parent(json!({"name": "other"}))]}),
        ),
        (Kind::BackendTLSPolicy, "tls", json!({"ancestors": []})),
    ];
    shown(WORLD, statuses)
}

#[test]
fn each_reason_has_its_code() {
    for (place, kind, status, reason, expected) in [
        ("gateway", "Accepted", "False", "InvalidParameters", "RW2004"),
        ("gateway", "Accepted", "False", "UnsupportedAddress", "RW2005"),
        ("gateway", "Programmed", "False", "AddressNotUsable", "RW2005"),
        ("gateway", "ResolvedRefs", "False", "InvalidClientCertificateRef", "RW2006"),
        ("gateway", "InsecureFrontendValidationMode", "True", "ConfigurationChanged", "RW2007"),
        ("listener", "Accepted", "False", "HostnameConflict", "RW2101"),
        ("listener", "Accepted", "False", "PortUnavailable", "RW2102"),
        ("listener", "Accepted", "False", "UnsupportedProtocol", "RW2103"),
        ("listener", "Accepted", "False", "Surprise", "RW2111"),
        ("listener", "ResolvedRefs", "False", "RefNotPermitted", "RW2105"),
        ("listener", "ResolvedRefs", "False", "InvalidCACertificateRef", "RW2106"),
        ("listener", "ResolvedRefs", "False", "InvalidRouteKinds", "RW2107"),
        ("listener", "OverlappingTLSConfig", "True", "OverlappingHostnames", "RW2108"),
        ("route", "Accepted", "False", "NoMatchingParent", "RW2204"),
        ("route", "Accepted", "False", "NotAllowedByListeners", "RW2205"),
        ("route", "Accepted", "False", "NoMatchingListenerHostname", "RW2206"),
        ("route", "Accepted", "False", "Conflicted", "RW2207"),
        ("route", "Accepted", "False", "IncompatibleFilters", "RW2208"),
        ("route", "Accepted", "False", "Surprise", "RW2214"),
        ("route", "PartiallyInvalid", "True", "UnsupportedValue", "RW2209"),
        ("route", "ResolvedRefs", "False", "InvalidKind", "RW2212"),
        ("route", "ResolvedRefs", "False", "UnsupportedProtocol", "RW2213"),
    ] {
        let shown = one(place, condition(kind, status, reason, "spec: why"));
        assert!(
            matches!(&shown[..], [only] if only.contains(expected) && only.ends_with("spec: why")),
            "{shown:?}"
        );
    }
}

#[test]
fn what_holds_is_not_told() {
    for (place, kind, status, reason) in [
        ("gateway", "Accepted", "True", "Accepted"),
        ("gateway", "Programmed", "True", "Programmed"),
        ("gateway", "Accepted", "False", "ListenersNotValid"),
        ("listener", "Conflicted", "False", "NoConflicts"),
        ("listener", "Programmed", "False", "Invalid"),
        ("route", "Accepted", "True", "Accepted"),
        ("route", "ResolvedRefs", "True", "ResolvedRefs"),
    ] {
        assert_eq!(
            one(place, condition(kind, status, reason, "good")),
            Vec::<String>::new(),
            "{kind} {reason}"
        );
    }
}

#[test]
fn an_annotation_that_is_not_understood_is_told_by_its_key() {
    let note = "metadata.annotations: ringway.dev/limit: \"x\" is no number";
    let told = one("route", condition("Accepted", "True", "Accepted", note));
    assert_eq!(told, ["17:1 RW2008 metadata.annotations[\"ringway.dev/limit\"]: \"x\" is no number"]);
}

#[test]
fn what_is_told_beside_a_summary_is_not_lost() {
    let message =
        "Listeners that are not accepted: a; accepted: http; metadata.annotations: ringway.dev/x: why";
    let told = one("gateway", condition("Accepted", "True", "ListenersNotValid", message));
    assert_eq!(told, ["3:1 RW2008 metadata.annotations[\"ringway.dev/x\"]: why"]);
}

#[test]
fn a_hint_is_said_once_and_fits_what_is_wrong() {
    let service = "spec: {ports: [{port: 80}]}";
    for (new, expected) in [
        (
            "spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}",
            "could reach any host; use an XBackend, or allow it (--allow-external-name)",
        ),
        (
            "spec: {ports: [{port: 80, appProtocol: https}]}",
            "needs a BackendTLSPolicy that says whom to trust; add one for this Service, or change its `appProtocol`",
        ),
        (
            "spec: {ports: [{port: 80, appProtocol: ftp}]}",
            "\"ftp\" is not supported; correct the Service's `appProtocol`, or the XBackend's `protocol`",
        ),
    ] {
        let found = findings(&SOUND.replacen(service, new, 1));
        let [only] = &found[..] else { panic!("{found:?}") };
        assert!(only.to_string().ends_with(expected), "{only}");
    }
}

#[test]
fn listeners_of_one_port_are_told_of_common_hosts_and_of_common_names_in_their_certificates() {
    let case = include_str!("../../../fixtures/overlapping-tls/in.yaml");
    let told: Vec<String> = translated(case).into_iter().filter(|told| !told.contains("RW2110")).collect();
    assert_eq!(
        told,
        [
            "10 RW2108 spec.listeners[0].hostname",
            "11 RW2108 spec.listeners[1].hostname",
            "12 RW2112 spec.listeners[2].tls.certificateRefs",
            "13 RW2112 spec.listeners[3].tls.certificateRefs",
            "15 RW2108 spec.listeners[5].hostname",
            "15 RW2112 spec.listeners[5].tls.certificateRefs",
            "16 RW2108 spec.listeners[6].hostname",
            "16 RW2112 spec.listeners[6].tls.certificateRefs",
        ]
    );
}

/// What never serves though nothing is wrong with it.
fn shaded(text: &str) -> Vec<String> {
    let documents = admit(parse("in.yaml".into(), text).0).documents;
    let objects = documents.iter().filter_map(|document| document.object().expect("it was admitted"));
    let mut translator = Translator::new(Options::standalone(vec![[127, 0, 0, 1].into()]));
    translator.apply(Changes::all(objects.collect::<Vec<_>>()));
    let found = shadowed(&documents, translator.world(), translator.config());
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn of_routes_that_want_all_of_a_listener_the_later_are_told_who_has_it() {
    let text = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: ringway
  listeners:
  - {name: tcp, port: 1, protocol: TCP}
  - {name: udp, port: 1, protocol: UDP}
  - {name: tls, port: 2, protocol: TLS, tls: {mode: Passthrough}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TCPRoute, metadata: {name: young, creationTimestamp: '2026-02-02T00:00:00Z'}, spec: {parentRefs: [{name: edge}], rules: [{backendRefs: []}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TCPRoute, metadata: {name: zold, creationTimestamp: '2026-01-01T00:00:00Z'}, spec: {parentRefs: [{name: edge}], rules: [{backendRefs: []}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: UDPRoute, metadata: {name: only}, spec: {parentRefs: [{name: edge}], rules: [{backendRefs: []}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TLSRoute, metadata: {name: a}, spec: {parentRefs: [{name: edge}], hostnames: [a.example, b.example], rules: [{backendRefs: []}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: TLSRoute, metadata: {name: b}, spec: {parentRefs: [{name: edge}], hostnames: [b.example, c.example], rules: [{backendRefs: []}]}}
";
    // The rules have no backends, which an API server would not take; what is asked here does not depend on them.
    let text = text.replace("backendRefs: []", "backendRefs: [{name: s, port: 1}]");
    assert_eq!(
        shaded(&text),
        [
            "in.yaml:11:135: warning[RW2217] TCPRoute/default/young: spec.parentRefs: all traffic of \
             Gateway/default/edge/tcp goes to TCPRoute/default/zold alone, which is older or comes first by name; remove \
             one, or give it a listener of its own",
            "in.yaml:19:88: warning[RW2217] TLSRoute/default/b: spec.parentRefs: host b.example of \
             Gateway/default/edge/tls goes to TLSRoute/default/a alone, which is older or comes first by name; remove \
             one, or give it a listener of its own",
        ]
    );
}

#[test]
fn of_equal_matches_for_one_host_the_later_are_told_which_comes_first() {
    let shared = "\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: other}
spec:
  parentRefs: [{name: edge}]
  hostnames: [example.com, example.org]
  rules:
  - matches: [{path: {type: RegularExpression, value: '('}}]
  - matches: [{path: {value: /a}}, {path: {value: /a}}]
  - matches: [{path: {value: /b}}, {headers: [{name: x, value: y}, {name: z, value: y}]}]
  - matches: [{headers: [{name: z, value: y}, {name: x, value: y}]}, {}]
  - matches: [{path: {type: Exact, value: /a}}]
";
    let told = shaded(&format!("{SOUND}{shared}"));
    assert_eq!(
        told,
        [
            "in.yaml:21:5: warning[RW2218] HTTPRoute/default/web: spec.rules[0].matches[0]: for host example.com of \
             Gateway/default/edge/http spec.rules[3].matches[1] of HTTPRoute/default/other has the same match and comes \
             first; change the match or the hostname, or remove one",
            "in.yaml:34:15: warning[RW2218] HTTPRoute/default/other: spec.rules[3].matches[0]: for host example.com of \
             Gateway/default/edge/http (and in 1 more) spec.rules[2].matches[1] has the same match and comes first; \
             change the match or the hostname, or remove one",
        ]
    );
    let elsewhere = shared.replace("[example.com, example.org]", "[sub.example.com]");
    assert_eq!(shaded(&format!("{SOUND}{elsewhere}")).len(), 1, "the other route has another host");
    assert_eq!(shaded(SOUND), Vec::<String>::new());
}

#[test]
fn session_persistence_is_not_ignored_in_silence() {
    let rule = "  rules:\n  - backendRefs:";
    let text = SOUND.replacen(rule, "  rules:\n  - sessionPersistence: {}\n    backendRefs:", 1);
    assert_ne!(text, SOUND);
    assert_eq!(translated(&text), ["21 RW2216 spec.rules[0].sessionPersistence"]);
}

#[test]
fn a_listener_without_routes_is_worth_a_notice() {
    let listener = json!({"name": "http", "attachedRoutes": 0, "conditions": []});
    let told = shown(WORLD, [(Kind::Gateway, "edge", json!({"conditions": [], "listeners": [listener]}))]);
    assert_eq!(told[0], "7:5 RW2110 spec.listeners[0]: no route is attached");
}

/// From text to findings, through the translation itself: what its sentences say is found at their fields.
fn findings(text: &str) -> Vec<Finding> {
    let (documents, errors) = parse("in.yaml".into(), text);
    assert_eq!(errors, []);
    let admitted = admit(documents);
    assert_eq!(admitted.findings, []);
    let objects = admitted.documents.iter().map(|document| document.object().expect("it was admitted"));
    let mut translator = Translator::new(Options::standalone(vec![[127, 0, 0, 1].into()]));
    translator.apply(Changes::all(objects.flatten()));
    let translation = translator.translation();
    let json = |status: &Status| serde_json::to_value(status).expect("a status is JSON");
    let statuses = translation.statuses.iter().map(|(key, status)| (key.clone(), json(status))).collect();
    let remarks = translation.notices.iter().map(|notice| (&notice.object, &*notice.message));
    lint(&admitted.documents, &statuses, remarks)
}

fn translated(text: &str) -> Vec<String> {
    let shown = |finding: &Finding| format!("{} {} {}", finding.place.line, finding.code, finding.field);
    findings(text).iter().map(shown).collect()
}

const SOUND: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: ringway
  listeners:
  - {name: http, port: 80, protocol: HTTP}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  hostnames: [example.com]
  rules:
  - backendRefs:
    - {name: web, port: 80}
";

#[test]
fn a_sound_world_has_no_findings() {
    assert_eq!(translated(SOUND), Vec::<String>::new());
}

#[test]
fn what_translation_refuses_is_found_where_it_stands() {
    let listener = "  - {name: http, port: 80, protocol: HTTP}\n";
    let backend = "    - {name: web, port: 80}\n";
    let parent = "[{name: edge}]";
    for (old, new, expected) in [
        (backend, "    - {name: wep, port: 80}\n", &["22 RW2210 spec.rules[0].backendRefs[0]"][..]),
        (backend, "    - {name: web, port: 81}\n", &["22 RW2210 spec.rules[0].backendRefs[0]"]),
        (
            backend,
            "    - {name: a, port: 80}\n    - {name: web, namespace: shop, port: 80}\n    - {kind: Pod, name: a}\n",
            &[
                "22 RW2210 spec.rules[0].backendRefs[0]",
                "23 RW2211 spec.rules[0].backendRefs[1]",
                "24 RW2212 spec.rules[0].backendRefs[2]",
            ],
        ),
        (
            "spec: {ports: [{port: 80}]}",
            "spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}",
            &["22 RW2215 spec.rules[0].backendRefs[0]"],
        ),
        (
            "spec: {ports: [{port: 80}]}",
            "spec: {ports: [{port: 80, appProtocol: https}]}",
            &["22 RW2213 spec.rules[0].backendRefs[0]"],
        ),
        (
            listener,
            "  - {name: http, port: 80, protocol: HTTP}\n  - {name: https, port: 443, protocol: HTTPS, \
                 allowedRoutes: {kinds: [{kind: TCPRoute}]}, tls: {certificateRefs: [{name: a}]}}\n",
            &[
                "8 RW2107 spec.listeners[1].allowedRoutes.kinds[0]",
                "8 RW2104 spec.listeners[1].tls.certificateRefs[0]",
            ],
        ),
        (parent, "[{name: egde}]", &["7 RW2110 spec.listeners[0]", "18 RW2201 spec.parentRefs[0]"]),
        (
            parent,
            "[{name: edge, sectionName: https}]",
            &["7 RW2110 spec.listeners[0]", "18 RW2204 spec.parentRefs[0]"],
        ),
        (
            listener,
            "  - {name: http, port: 80, protocol: HTTP, hostname: example.org}\n",
            &["7 RW2110 spec.listeners[0]", "19 RW2206 spec.hostnames"],
        ),
        (
            listener,
            "  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}\n",
            &["7 RW2110 spec.listeners[0]", "18 RW2205 spec.parentRefs[0]"],
        ),
        (
            listener,
            "  - {name: http, port: 80, protocol: HTTP}\n  - {name: tcp, port: 80, protocol: TCP}\n",
            &["7 RW2101 spec.listeners[0]", "8 RW2101 spec.listeners[1]"],
        ),
        (
            listener,
            "  - {name: http, port: 80, protocol: HTTP}\n  - {name: https, port: 443, protocol: HTTPS, \
                 tls: {certificateRefs: [{name: a}]}}\n",
            &["8 RW2104 spec.listeners[1].tls.certificateRefs[0]"],
        ),
        (
            listener,
            "  - {name: http, port: 80, protocol: HTTP}\n  - {name: https, port: 443, protocol: HTTPS, \
                 tls: {certificateRefs: [{name: a, namespace: b}]}}\n",
            &["8 RW2105 spec.listeners[1].tls.certificateRefs[0]"],
        ),
        (
            "gatewayClassName: ringway",
            "gatewayClassName: other",
            &["5 RW2001 spec.gatewayClassName", "18 RW2202 spec.parentRefs[0]"],
        ),
    ] {
        assert!(SOUND.contains(old), "{old}");
        assert_eq!(translated(&SOUND.replacen(old, new, 1)), expected, "{new}");
    }
}
