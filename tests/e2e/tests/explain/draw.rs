//! What is drawn: listeners, routes of every kind of match and filter, and requests that come near them.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use ringway_e2e::manifest;
use serde_json::{Value, json};

/// Backends that are there. `missing` is named by routes as well, and is not.
pub(crate) const SERVICES: [&str; 3] = ["a", "b", "c"];

/// Where copies go.
pub(crate) const MIRROR: &str = "mirror";

/// Server names that a client may name, all of them in the certificate.
pub(crate) const NAMES: [&str; 5] = ["one.test", "two.test", "x.deep.test", "y.x.deep.test", "other.example"];

/// Listeners and routes; ports are given when they are known.
#[derive(Clone, Debug)]
pub(crate) struct World {
    listeners: Vec<Listener>,
    routes: Vec<Route>,
}

#[derive(Clone, Debug)]
struct Listener {
    secure: bool,
    hostname: Option<&'static str>,
    in_set: bool,
}

#[derive(Clone, Debug)]
struct Route {
    kind: &'static str,
    hostnames: Vec<&'static str>,
    /// The listener that it is for; none: all of them. Beyond the last: all of the set.
    section: Option<usize>,
    rules: Vec<Value>,
}

/// A request as it is asked of both.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    /// The server name, for TLS.
    pub(crate) sni: Option<&'static str>,
    pub(crate) host: &'static str,
    pub(crate) target: String,
    pub(crate) fields: Vec<(&'static str, &'static str)>,
    pub(crate) http2: bool,
}

impl World {
    /// The manifests, without the objects that every world has.
    pub(crate) fn manifests(&self, http: u16, https: u16) -> Vec<Value> {
        let listeners: Vec<Value> =
            self.listeners.iter().enumerate().map(|(number, it)| it.manifest(number, http, https)).collect();
        let of = |in_set: bool| {
            let with = self.listeners.iter().zip(&listeners).filter(move |(it, _)| it.in_set == in_set);
            with.map(|(_, manifest)| manifest.clone()).collect::<Vec<_>>()
        };
        let mut gateway = manifest::gateway(of(false).into());
        gateway["spec"]["allowedListeners"] = json!({"namespaces": {"from": "Same"}});
        let mut objects = vec![gateway];
        let of_set = of(true);
        let has_set = !of_set.is_empty();
        if has_set {
            objects.push(json!({
                "apiVersion": format!("{}/v1", manifest::GROUP), "kind": "ListenerSet", "metadata": {"name": "more"},
                "spec": {"parentRef": {"name": "edge"}, "listeners": of_set},
            }));
        }
        for (number, it) in self.routes.iter().enumerate() {
            let mut route = manifest::route(it.kind, &format!("route-{number}"), it.rules.clone().into());
            route["spec"]["parentRefs"] = self.parents(it.section, has_set);
            if !it.hostnames.is_empty() {
                route["spec"]["hostnames"] = json!(it.hostnames);
            }
            objects.push(route);
        }
        objects
    }

    fn parents(&self, section: Option<usize>, has_set: bool) -> Value {
        let set = json!({"kind": "ListenerSet", "name": "more"});
        match section.map(|number| (number, self.listeners.get(number))) {
            Some((number, Some(listener))) => {
                let mut owner = if listener.in_set { set } else { json!({"name": "edge"}) };
                owner["sectionName"] = format!("l{number}").into();
                json!([owner])
            }
            Some((_, None)) if has_set => json!([set]),
            None if has_set => json!([{"name": "edge"}, set]),
            _ => json!([{"name": "edge"}]),
        }
    }
}

impl Listener {
    fn manifest(&self, number: usize, http: u16, https: u16) -> Value {
        let name = format!("l{number}");
        let mut it = match self.secure {
            true => manifest::https_listener(&name, https, "cert"),
            false => json!({"name": name, "port": http, "protocol": "HTTP"}),
        };
        if let Some(hostname) = self.hostname {
            it["hostname"] = hostname.into();
        }
        it
    }
}

pub(crate) fn world() -> impl Strategy<Value = World> {
    let routes = prop::collection::vec(route(), 3..7);
    (listeners(false), listeners(true), routes).prop_map(|(http, https, routes)| World {
        listeners: http.into_iter().chain(https).collect(),
        routes,
    })
}

fn listeners(secure: bool) -> impl Strategy<Value = Vec<Listener>> {
    let hostnames = vec![None, Some("one.test"), Some("*.test"), Some("*.deep.test")];
    let some = subsequence(hostnames, 1..=4).prop_shuffle();
    (some, prop::collection::vec(any::<bool>(), 4)).prop_map(move |(hostnames, in_set)| {
        let listener = |(index, hostname): (usize, Option<&'static str>)| Listener {
            secure,
            hostname,
            // Both ports are the Gateway's as well.
            in_set: index > 0 && in_set[index],
        };
        hostnames.into_iter().enumerate().map(listener).collect()
    })
}

fn route() -> impl Strategy<Value = Route> {
    let hostnames = vec!["one.test", "*.test", "*.deep.test", "other.example"];
    let hostnames = prop_oneof![3 => Just(vec![]), 1 => subsequence(hostnames, 1..3)];
    let rules = prop_oneof![
        4 => prop::collection::vec(http_rule(), 1..4).prop_map(|rules| ("HTTPRoute", rules)),
        1 => prop::collection::vec(grpc_rule(), 1..4).prop_map(|rules| ("GRPCRoute", rules)),
    ];
    let section = prop_oneof![2 => Just(None), 1 => (0..8usize).prop_map(Some), 1 => Just(Some(8))];
    (hostnames, section, rules).prop_map(|(hostnames, section, (kind, rules))| Route {
        kind,
        hostnames,
        section,
        rules,
    })
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::collection::vec(select(vec!["a", "a", "a", "a", "b", "b", "b", "ab", "A"]), 0..3)
            .prop_map(|parts| format!("/{}", parts.join("/"))),
        1 => select(vec!["/svc.A/Do", "/svc.A/Other", "/svc.B/Do"]).prop_map(str::to_owned),
    ]
}

/// A value that a field or parameter must have.
fn wanted(name: &'static str) -> impl Strategy<Value = Option<Value>> {
    let exact = select(vec!["one", "two"]).prop_map(move |value| json!({"name": name, "value": value}));
    let pattern = select(vec!["o.*", "(one|two)", "t[vw]o", ".*,.*"])
        .prop_map(move |value| json!({"name": name, "value": value, "type": "RegularExpression"}));
    prop_oneof![12 => Just(None), 2 => exact.prop_map(Some), 1 => pattern.prop_map(Some)]
}

fn http_match() -> impl Strategy<Value = Value> {
    let plain =
        (select(vec!["Exact", "PathPrefix", "PathPrefix"]), path()).prop_map(|(kind, path)| (kind, path));
    let pattern = select(vec!["/(a|b)/?.*", "/a+b?", "/[a-z]/b", "/svc[.].*"])
        .prop_map(|path| ("RegularExpression", path.to_owned()));
    let path = prop_oneof![2 => Just(("PathPrefix", "/".to_owned())), 4 => plain, 1 => pattern];
    let method = prop_oneof![7 => Just(None), 1 => select(vec!["GET", "POST", "OPTIONS"]).prop_map(Some)];
    (path, wanted("x-kind"), wanted("q"), method).prop_map(|((kind, path), header, query, method)| {
        let mut it = json!({"path": {"type": kind, "value": path}});
        if let Some(header) = header {
            it["headers"] = json!([header]);
        }
        if let Some(query) = query {
            it["queryParams"] = json!([query]);
        }
        if let Some(method) = method {
            it["method"] = method.into();
        }
        it
    })
}

fn grpc_match() -> impl Strategy<Value = Value> {
    let exact =
        (prop::option::of(select(vec!["svc.A", "svc.B"])), prop::option::of(select(vec!["Do", "Other"])))
            .prop_map(|(service, method)| json!({"type": "Exact", "service": service, "method": method}));
    let pattern = select(vec!["svc[.].", ".*B"])
        .prop_map(|service| json!({"type": "RegularExpression", "service": service}));
    let method = prop_oneof![3 => exact, 1 => pattern];
    (method, wanted("x-kind")).prop_map(|(mut method, header)| {
        let parts = method.as_object_mut().expect("it is one");
        parts.retain(|_, value| !value.is_null());
        let anything = parts.len() == 1;
        let mut it = if anything { json!({}) } else { json!({"method": method}) };
        if let Some(header) = header {
            it["headers"] = json!([header]);
        }
        it
    })
}

/// One kind of edit each, so that no filter names a field twice.
fn edits(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let values = select(vec!["edited", "one", "two, three"]);
    (subsequence(names.to_vec(), 1..=names.len()).prop_shuffle(), values, 0..3usize).prop_map(
        |(names, value, kinds)| {
            let (mut set, mut add, mut remove) = (vec![], vec![], vec![]);
            for (index, name) in names.into_iter().enumerate() {
                match (index + kinds) % 3 {
                    0 => set.push(json!({"name": name, "value": value})),
                    1 => add.push(json!({"name": name, "value": value})),
                    _ => remove.push(name),
                }
            }
            json!({"set": set, "add": add, "remove": remove})
        },
    )
}

fn request_edits() -> impl Strategy<Value = Value> {
    edits(&["x-kind", "x-new", "content-type", "X-Forwarded-Host"])
        .prop_map(|edits| json!({"type": "RequestHeaderModifier", "requestHeaderModifier": edits}))
}

fn response_edits() -> impl Strategy<Value = Value> {
    edits(&["x-peer", "x-down", "vary", "set-cookie"])
        .prop_map(|edits| json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": edits}))
}

fn mirror() -> impl Strategy<Value = Value> {
    let share = prop_oneof![
        3 => Just(json!({})),
        1 => select(vec![0, 50, 100]).prop_map(|percent| json!({"percent": percent})),
        1 => select(vec![0, 2, 4]).prop_map(|part| json!({"fraction": {"numerator": part, "denominator": 4}})),
    ];
    (share, select(vec![MIRROR, MIRROR, MIRROR, "missing"])).prop_map(|(mut mirror, to)| {
        mirror["backendRef"] = json!({"name": to, "port": 80});
        json!({"type": "RequestMirror", "requestMirror": mirror})
    })
}

fn cors() -> impl Strategy<Value = Value> {
    let origins = select(vec![json!(["*"]), json!(["https://good.test"]), json!(["https://*.good.test"])]);
    let names = || select(vec![json!(["*"]), json!(["x-one", "x-two"])]);
    let methods = select(vec![json!(["*"]), json!(["GET", "PUT"])]);
    (origins, methods, names(), names(), any::<bool>()).prop_map(
        |(origins, methods, allow, expose, credentials)| {
            json!({"type": "CORS", "cors": {
                "allowOrigins": origins, "allowMethods": methods, "allowHeaders": allow,
                "exposeHeaders": expose, "allowCredentials": credentials, "maxAge": 7,
            }})
        },
    )
}

fn replacement() -> impl Strategy<Value = Option<Value>> {
    let to = || select(vec!["/", "/new", "/new/deep"]);
    prop_oneof![
        1 => Just(None),
        1 => to().prop_map(|to| Some(json!({"type": "ReplaceFullPath", "replaceFullPath": to}))),
        2 => to().prop_map(|to| Some(json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to}))),
    ]
}

fn rewrite() -> impl Strategy<Value = Value> {
    (replacement(), any::<bool>()).prop_map(|(path, host)| {
        let mut rewrite = json!({});
        if host || path.is_none() {
            rewrite["hostname"] = "rewritten.test".into();
        }
        if let Some(path) = path {
            rewrite["path"] = path;
        }
        json!({"type": "URLRewrite", "urlRewrite": rewrite})
    })
}

fn redirect() -> impl Strategy<Value = Value> {
    let scheme = prop::option::of(select(vec!["http", "https"]));
    let hostname = prop::option::of(Just("moved.test"));
    let port = prop::option::of(select(vec![80, 443, 8080]));
    let status = select(vec![301, 302, 303, 307, 308]);
    (scheme, hostname, port, status, replacement()).prop_map(|(scheme, hostname, port, status, path)| {
        let all = json!({
            "scheme": scheme, "hostname": hostname, "port": port, "statusCode": status, "path": path,
        });
        let given = all.as_object().expect("it is one").iter().filter(|(_, value)| !value.is_null());
        let redirect: serde_json::Map<_, _> =
            given.map(|(name, value)| (name.clone(), value.clone())).collect();
        json!({"type": "RequestRedirect", "requestRedirect": redirect})
    })
}

/// Backends with weights, some with filters of their own, some that are not there.
fn backends() -> impl Strategy<Value = Vec<Value>> {
    let [a, b, c] = SERVICES;
    let filters = prop_oneof![
        2 => Just(vec![]),
        1 => request_edits().prop_map(|edits| vec![edits]),
        1 => response_edits().prop_map(|edits| vec![edits]),
    ];
    let backend = (select(vec![a, a, a, b, b, b, c, c, c, "missing"]), 0..4u32, filters);
    let backend = backend.prop_map(|(name, weight, filters)| {
        let mut backend = json!({"name": name, "port": 80, "weight": weight});
        if !filters.is_empty() {
            backend["filters"] = filters.into();
        }
        backend
    });
    prop::collection::vec(backend, 0..4)
}

/// A filter that is there in one of so many rules.
fn seldom(filter: impl Strategy<Value = Value>, of: u32) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![1 => filter.prop_map(Some), of - 1 => Just(None)]
}

fn unknown() -> impl Strategy<Value = Value> {
    Just(json!({"type": "ExtensionRef", "extensionRef": {"group": "x.test", "kind": "Unknown", "name": "x"}}))
}

fn http_rule() -> impl Strategy<Value = Value> {
    let matches = prop::collection::vec(http_match(), 1..3);
    let ending = prop_oneof![
        2 => Just(None),
        1 => rewrite().prop_map(Some),
        1 => redirect().prop_map(Some),
    ];
    let filters = (
        seldom(request_edits(), 3),
        seldom(response_edits(), 3),
        seldom(mirror(), 2),
        seldom(mirror(), 3),
        seldom(cors(), 3),
        ending,
        seldom(unknown(), 20),
    );
    let filters = filters.prop_map(|(up, down, first, second, cors, ending, unknown)| {
        let all = [up, first, down, ending, second, cors, unknown];
        all.into_iter().flatten().collect::<Vec<_>>()
    });
    (matches, filters.prop_shuffle(), backends()).prop_map(|(mut matches, filters, backends)| {
        let text = Value::from(filters.clone()).to_string();
        if text.contains("ReplacePrefixMatch") {
            // Such a rule may have one match, of a prefix.
            matches.truncate(1);
            if matches[0]["path"]["type"] != "PathPrefix" {
                matches[0]["path"] = json!({"type": "PathPrefix", "value": "/a"});
            }
        }
        let mut rule = json!({"matches": matches, "filters": filters});
        if !text.contains("RequestRedirect") {
            rule["backendRefs"] = backends.into();
        }
        rule
    })
}

fn grpc_rule() -> impl Strategy<Value = Value> {
    let matches = prop::collection::vec(grpc_match(), 1..3);
    let filters = (seldom(request_edits(), 3), seldom(response_edits(), 3), seldom(mirror(), 3));
    (matches, filters, backends()).prop_map(|(matches, (up, down, mirror), backends)| {
        let filters: Vec<Value> = [up, down, mirror].into_iter().flatten().collect();
        json!({"matches": matches, "filters": filters, "backendRefs": backends})
    })
}

pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let plain = select(vec!["one.test", "ONE.test", "one.test.", "two.test", "x.deep.test", "other.example"])
        .prop_map(|host| (None, host));
    let same = select(NAMES.to_vec()).prop_map(|name| (Some(name), name));
    let different =
        (select(NAMES.to_vec()), select(NAMES.to_vec())).prop_map(|(sni, host)| (Some(sni), host));
    let place = prop_oneof![3 => plain, 2 => same, 1 => different];
    let suffix = prop_oneof![
        2 => Just(""),
        1 => select(vec!["/", "?q=one", "?q=two&q=one", "?x", "/../b", "/./%61", "/%zz", "?q=%6fne", "//b", "/%2Fb", "/%C3%a4;v=1", "?q=two&&q"]),
    ];
    let target = (path(), suffix).prop_map(|(path, suffix)| format!("{path}{suffix}"));
    let kind = prop::option::of(select(vec!["one", "two", "three"]));
    let shape = prop_oneof![
        4 => select(vec!["GET", "POST", "DELETE"]).prop_map(|method| (method, vec![])),
        1 => Just(("POST", vec![("content-type", "application/grpc")])),
        1 => origin().prop_map(|origin| ("GET", vec![("origin", origin)])),
        1 => origin().prop_map(|origin| {
            let asks = ("access-control-request-method", "GET");
            ("OPTIONS", vec![("origin", origin), asks, ("access-control-request-headers", "x-one")])
        }),
    ];
    let odd = prop_oneof![3 => Just(None), 1 => odd_field().prop_map(Some)];
    (place, target, kind, shape, odd, any::<bool>()).prop_map(
        |((sni, host), target, kind, shape, odd, http2)| {
            let (method, mut fields) = shape;
            fields.extend(kind.map(|kind| ("x-kind", kind)));
            fields.extend(odd);
            // HTTP/2 has no such fields.
            let http2 = http2 && odd.is_none_or(|(name, _)| !["connection", "keep-alive"].contains(&name));
            Asked { method, sni, host, target, fields, http2 }
        },
    )
}

/// Fields that are not passed on as they come: looked at, replaced, or of one hop only.
fn odd_field() -> impl Strategy<Value = (&'static str, &'static str)> {
    select(vec![
        ("x-kind", "two"),
        ("x_kind", "one"),
        ("x_new", "smuggled"),
        ("x-new", "asked"),
        ("te", "trailers"),
        ("connection", "x-kind"),
        ("connection", "keep-alive, x-case-of-nobody"),
        ("keep-alive", "timeout=5"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "evil.test"),
        ("x_forwarded_proto", "https"),
        ("forwarded", "for=192.0.2.1"),
        ("x-request-id", "mine"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("expect", "100-continue"),
        ("expect", "anything"),
        ("cookie", "a=1; b=2"),
        ("user-agent", ""),
    ])
}

fn origin() -> impl Strategy<Value = &'static str> {
    select(vec!["https://good.test", "https://very.good.test", "http://evil.test", "null"])
}
