//! HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute. Their filters are in `filter.rs`.

use serde_json::Value;

use super::super::code::Code;
use super::super::form::{self, duration, grpc_method, grpc_service, path_characters};
use super::super::schema::Default::{Empty, Integer, One, Text};
use super::super::schema::Distinct::{By, Value as Whole};
use super::super::schema::{
    Field, Shape, UNBOUNDED, defaulted, formed, integer, list, object, optional, required, ruled, text,
};
use super::super::walk::Checker;
use super::filter::{GRPC_FILTERS, HTTP_FILTERS, replaces_prefix};
use super::rules::{backend_port, has, items, items_of, of, references_differ, rule_names_differ};
use super::shared::{
    BACKEND_GROUP, BACKEND_KIND, DURATION, GROUP, HOSTNAME, KIND, NAMESPACE, OBJECT_NAME, PORT, SECTION, kind,
};

pub(super) const HTTP_ROUTE: Shape = kind![required(
    "spec",
    ruled(
        &[
            PARENTS,
            DEFAULT_GATEWAYS,
            HOSTNAMES,
            defaulted("rules", list(&HTTP_RULE, 1, 16).with(&[matches_in_all, rule_names_differ]), One),
        ],
        &[has_parents],
    )
)];

pub(super) const GRPC_ROUTE: Shape = kind![required(
    "spec",
    ruled(
        &[
            PARENTS,
            DEFAULT_GATEWAYS,
            HOSTNAMES,
            optional("rules", list(&GRPC_RULE, 0, 16).with(&[matches_in_all, rule_names_differ])),
        ],
        &[has_parents],
    )
)];

pub(super) const TLS_ROUTE: Shape = kind![required(
    "spec",
    ruled(
        &[
            PARENTS,
            DEFAULT_GATEWAYS,
            required("hostnames", list(&HOSTNAME, 1, 1024).with(&[names_not_addresses])),
            required("rules", list(&LAYER4_RULE, 1, 1)),
        ],
        &[has_parents],
    )
)];

pub(super) const TLS_ROUTE_ALPHA2: Shape = kind![required(
    "spec",
    ruled(
        &[PARENTS, DEFAULT_GATEWAYS, optional("hostnames", list(&HOSTNAME, 0, 1024)), MANY_LAYER4_RULES],
        &[has_parents]
    )
)];

/// TCPRoute and UDPRoute.
pub(super) const LAYER4_ROUTE: Shape = kind![required(
    "spec",
    ruled(&[PARENTS, DEFAULT_GATEWAYS, required("rules", list(&LAYER4_RULE, 1, 1))], &[has_parents])
)];

pub(super) const LAYER4_ROUTE_ALPHA2: Shape =
    kind![required("spec", ruled(&[PARENTS, DEFAULT_GATEWAYS, MANY_LAYER4_RULES], &[has_parents]))];

const PARENTS: Field = optional("parentRefs", list(&PARENT, 0, 32).with(&[parents_differ]));
const HOSTNAMES: Field = optional("hostnames", list(&HOSTNAME, 0, 16));
const DEFAULT_GATEWAYS: Field = optional("useDefaultGateways", Shape::OneOf(&["All", "None"]));
const WEIGHT: Field = defaulted("weight", integer(0, 1_000_000), Integer(1));
const RULE_NAME: Field = optional("name", SECTION);

const PARENT: Shape = object(&[
    defaulted("group", GROUP, Text("gateway.networking.k8s.io")),
    defaulted("kind", KIND, Text("Gateway")),
    required("name", OBJECT_NAME),
    optional("namespace", NAMESPACE),
    optional("sectionName", SECTION),
    optional("port", PORT),
]);

const HTTP_RULE: Shape = ruled(
    &[
        RULE_NAME,
        defaulted("matches", list(&HTTP_MATCH, 0, 64), One),
        optional("filters", HTTP_FILTERS),
        optional("backendRefs", list(&HTTP_BACKEND, 0, 16)),
        optional("timeouts", TIMEOUTS),
        optional("retry", RETRY),
        optional("sessionPersistence", SESSION),
    ],
    &[redirect_without_backends, prefix_is_unique],
);

const HTTP_MATCH: Shape = object(&[
    defaulted("path", PATH_MATCH, Empty),
    optional("method", Shape::OneOf(METHODS)),
    optional("headers", list(&HEADER_MATCH, 0, 16).distinct(By("name"))),
    optional("queryParams", list(&QUERY_MATCH, 0, 16).distinct(By("name"))),
]);

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

const PATH_MATCH: Shape = ruled(
    &[
        defaulted("type", Shape::OneOf(&["Exact", "PathPrefix", "RegularExpression"]), Text("PathPrefix")),
        defaulted("value", text(0, 1024), Text("/")),
    ],
    &[path],
);

const MATCH_TYPE: Field = defaulted("type", Shape::OneOf(&["Exact", "RegularExpression"]), Text("Exact"));
const HEADER_NAME: Field = required("name", formed(1, 256, &form::HEADER_NAME));

const HEADER_MATCH: Shape =
    object(&[HEADER_NAME, MATCH_TYPE, required("value", formed(1, 4096, &form::HEADER_VALUE))]);

const QUERY_MATCH: Shape = object(&[HEADER_NAME, MATCH_TYPE, required("value", text(1, 1024))]);

const HTTP_BACKEND: Shape = ruled(
    &[
        BACKEND_GROUP,
        BACKEND_KIND,
        required("name", OBJECT_NAME),
        optional("namespace", NAMESPACE),
        optional("port", PORT),
        WEIGHT,
        optional("filters", HTTP_FILTERS),
    ],
    &[backend_port],
);

const TIMEOUTS: Shape =
    ruled(&[optional("request", DURATION), optional("backendRequest", DURATION)], &[timeouts_nest]);

const RETRY: Shape = object(&[
    optional("attempts", integer(1, i64::MAX)),
    optional("backoff", DURATION),
    optional("codes", list(&integer(400, 599), 0, UNBOUNDED).distinct(Whole)),
]);

const SESSION: Shape = ruled(
    &[
        optional("sessionName", text(0, 128)),
        optional("absoluteTimeout", DURATION),
        defaulted("type", Shape::OneOf(&["Cookie", "Header"]), Text("Cookie")),
        optional(
            "cookieConfig",
            object(&[defaulted("lifetimeType", Shape::OneOf(&["Permanent", "Session"]), Text("Session"))]),
        ),
    ],
    &[session],
);

const GRPC_RULE: Shape = object(&[
    RULE_NAME,
    optional("matches", list(&GRPC_MATCH, 0, 64)),
    optional("filters", GRPC_FILTERS),
    optional("backendRefs", list(&GRPC_BACKEND, 0, 16)),
    optional("sessionPersistence", SESSION),
]);

const GRPC_MATCH: Shape = object(&[
    optional("method", GRPC_METHOD),
    optional("headers", list(&GRPC_HEADER_MATCH, 0, 16).distinct(By("name"))),
]);

const GRPC_METHOD: Shape = ruled(
    &[MATCH_TYPE, optional("service", text(0, 1024)), optional("method", text(0, 1024))],
    &[grpc_names],
);

const GRPC_HEADER_MATCH: Shape = object(&[HEADER_NAME, MATCH_TYPE, required("value", text(1, 4096))]);

const GRPC_BACKEND: Shape = ruled(
    &[
        BACKEND_GROUP,
        BACKEND_KIND,
        required("name", OBJECT_NAME),
        optional("namespace", NAMESPACE),
        optional("port", PORT),
        WEIGHT,
        optional("filters", GRPC_FILTERS),
    ],
    &[backend_port],
);

const MANY_LAYER4_RULES: Field = required("rules", list(&LAYER4_RULE, 1, 16).with(&[rule_names_differ]));

const LAYER4_RULE: Shape = object(&[RULE_NAME, required("backendRefs", list(&LAYER4_BACKEND, 1, 16))]);

const LAYER4_BACKEND: Shape = ruled(
    &[
        BACKEND_GROUP,
        BACKEND_KIND,
        required("name", OBJECT_NAME),
        optional("namespace", NAMESPACE),
        optional("port", PORT),
        WEIGHT,
    ],
    &[backend_port],
);

fn parents_differ<'v>(parents: &'v Value, check: &mut Checker<'v>) {
    references_differ(parents, check, &["sectionName", "port"], (Code::ParentNotDistinct, Code::ParentTwice));
}

fn matches_in_all<'v>(rules: &'v Value, check: &mut Checker<'v>) {
    let count: usize = items(rules).iter().map(|rule| items_of(rule, "matches").len()).sum();
    if count > 128 {
        check.report("", Code::TooManyMatches, format!("{count} matches in one route, more than 128"), None);
    }
}

fn redirect_without_backends<'v>(rule: &'v Value, check: &mut Checker<'v>) {
    let redirect = items_of(rule, "filters").iter().position(|filter| has(filter, "requestRedirect"));
    if let (Some(index), false) = (redirect, items_of(rule, "backendRefs").is_empty()) {
        check.broken(&format!(".filters[{index}]"), Code::RedirectWithBackends);
    }
}

/// Replacing a prefix needs to know which prefix. The official rule looks for exactly one such filter of the
/// rule, and for exactly one backend that has one; when several have, it does not apply, and nor does this.
fn prefix_is_unique<'v>(rule: &'v Value, check: &mut Checker<'v>) {
    let unique = match items_of(rule, "matches") {
        [only] => only.pointer("/path/type").is_some_and(|kind| kind == "PathPrefix"),
        _ => false,
    };
    if unique {
        return;
    }
    let single = |filters: &'v [Value], settings| {
        let mut places = (0..filters.len()).filter(|index| replaces_prefix(&filters[*index], settings));
        places.next().filter(|_| places.next().is_none())
    };
    for settings in ["requestRedirect", "urlRewrite"] {
        if let Some(index) = single(items_of(rule, "filters"), settings) {
            check.broken(&format!(".filters[{index}].{settings}.path"), Code::PrefixNotUnique);
        }
        let mut backends = items_of(rule, "backendRefs")
            .iter()
            .enumerate()
            .filter_map(|(index, backend)| Some((index, single(items_of(backend, "filters"), settings)?)));
        if let (Some((backend, index)), None) = (backends.next(), backends.next()) {
            let field = format!(".backendRefs[{backend}].filters[{index}].{settings}.path");
            check.broken(&field, Code::PrefixNotUnique);
        }
    }
}

fn path<'v>(path: &'v Value, check: &mut Checker<'v>) {
    let value = of(path, "value");
    if of(path, "type") == "RegularExpression" {
        return;
    }
    let report = |check: &mut Checker<'v>, code, message| check.report(".value", code, message, None);
    if !value.starts_with('/') {
        report(check, Code::PathNotAbsolute, format!("{value:?} does not start with `/`"));
        return;
    }
    let inside = ["//", "/./", "/../", "%2f", "%2F", "#"].into_iter().find(|part| value.contains(part));
    let at_end = ["/..", "/."].into_iter().find(|part| value.ends_with(part));
    if let Some(part) = inside {
        report(check, Code::PathNotCanonical, format!("{value:?} contains `{part}`"));
    } else if let Some(part) = at_end {
        report(check, Code::PathNotCanonical, format!("{value:?} ends with `{part}`"));
    } else if !path_characters(value) {
        report(check, Code::PathCharacters, format!("{value:?} has characters that must be escaped"));
    }
}

fn timeouts_nest<'v>(timeouts: &'v Value, check: &mut Checker<'v>) {
    let limit = |field| timeouts.get(field).and_then(Value::as_str).and_then(duration);
    if let (Some(request), Some(backend)) = (limit("request"), limit("backendRequest"))
        && request != 0
        && backend > request
    {
        check.broken(".backendRequest", Code::BackendTimeoutLonger);
    }
}

fn session<'v>(session: &'v Value, check: &mut Checker<'v>) {
    let Some(cookie) = session.get("cookieConfig") else { return };
    if of(cookie, "lifetimeType") == "Permanent" && !has(session, "absoluteTimeout") {
        check.broken(".absoluteTimeout", Code::PermanentWithoutTimeout);
    }
    if of(session, "type") != "Cookie" {
        check.broken(".cookieConfig", Code::CookieSettingsOnHeader);
    }
}

fn grpc_names<'v>(method: &'v Value, check: &mut Checker<'v>) {
    if !has(method, "service") && !has(method, "method") {
        check.broken("", Code::MethodMatchEmpty);
    }
    if of(method, "type") != "Exact" {
        return;
    }
    let misnamed = |field: &str, fits: fn(&str) -> bool| {
        method.get(field).and_then(Value::as_str).is_some_and(|name| !fits(name))
    };
    for (field, misnamed) in
        [("service", misnamed("service", grpc_service)), ("method", misnamed("method", grpc_method))]
    {
        if misnamed {
            let message = format!("{:?} is not a {field} name", of(method, field));
            check.report(&format!(".{field}"), Code::MethodMatchCharacters, message, None);
        }
    }
}

fn names_not_addresses<'v>(hostnames: &'v Value, check: &mut Checker<'v>) {
    for (index, hostname) in items(hostnames).iter().enumerate() {
        if hostname.as_str().is_some_and(|name| name.parse::<std::net::IpAddr>().is_ok()) {
            check.broken(&format!("[{index}]"), Code::HostnameIsIp);
        }
    }
}

/// A route is led to by the parents that it names, and by them alone: default gateways are not served yet.
fn has_parents<'v>(spec: &'v Value, check: &mut Checker<'v>) {
    let by_default = of(spec, "useDefaultGateways") == "All";
    match (items_of(spec, "parentRefs").is_empty(), by_default) {
        (true, false) => {
            let message = "there are no parentRefs, so nothing leads here".to_owned();
            check.report("", Code::RouteWithoutParents, message, None);
        }
        (true, true) => {
            let message =
                "default gateways are not served yet, and there are no parentRefs, so nothing leads here";
            check.report(".useDefaultGateways", Code::RouteWithoutParents, message.to_owned(), None);
        }
        (false, true) => {
            let message = "default gateways are not served yet, so only parentRefs lead here".to_owned();
            check.report(".useDefaultGateways", Code::NotServedYet, message, None);
        }
        (false, false) => {}
    }
}
