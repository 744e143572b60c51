//! Why a request would be served as it would: which listener, rule, steps and backend, and of each other candidate why
//! not. For people; the proxy never calls it.
//!
//! It finds nothing by itself: listener, rule and verdict come from the functions that [`View::decide`] is made of,
//! and reasons from the predicate that the router tries its candidates with.

mod effect;
mod terms;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use ringway_config::{
    ClusterKey, GrpcMatch, HeaderEdits, HostPattern, HttpMatch, ListenerKey, PathMatch, PathPrefix,
    PathRewrite, RouteKey, ValueMatch,
};

pub use effect::{Copied, FieldEdit, Sent, Verdict};

use crate::arrival::Arrival;
use crate::compiled::Entry;
use crate::decision::{Plan, PlanEnd, PlanTarget};
use crate::message::RequestHead;
use crate::route::{self, Mismatch, Refusal, View};
use crate::step::{RequestStep, ResponseStep};

/// The way of one request through the configuration. `Display` gives it in lines.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The request, as it was looked at.
    pub request: String,
    /// The listeners of the bind, most specific first.
    pub listeners: Vec<ListenerCandidate>,
    /// The matches of the chosen listener's rules for hostnames that cover the host, in order of precedence.
    pub matches: Vec<MatchCandidate>,
    /// How many matches of the chosen listener are for other hostnames.
    pub matches_of_other_hostnames: usize,
    /// What holds for the connection, what the rule allows, what is done to the request and its response in order,
    /// and how the backends are spoken to.
    pub steps: Vec<String>,
    /// Where the rule sends requests.
    pub backends: Vec<BackendCandidate>,
    /// What comes of it.
    pub verdict: Verdict,
}

/// A listener that might serve.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerCandidate {
    /// Its name.
    pub key: ListenerKey,
    /// The hosts it is for.
    pub hostname: HostPattern,
    /// `None`: it serves.
    pub why_not: Option<WhyNot>,
}

/// A match of a rule that might serve.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchCandidate {
    /// The hostname under which it is tried.
    pub hostname: HostPattern,
    /// The route.
    pub route: RouteKey,
    /// The rule's place in the route.
    pub rule: usize,
    /// The rule's name, if it has one.
    pub rule_name: Option<Arc<str>>,
    /// The match's place in the rule.
    pub matching: usize,
    /// `None`: it serves.
    pub why_not: Option<WhyNot>,
}

/// A backend of the rule.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendCandidate {
    /// The cluster; `None` for an invalid reference.
    pub cluster: Option<ClusterKey>,
    /// Its share, of `total`.
    pub weight: u32,
    /// The sum of all shares.
    pub total: u32,
    /// Whether this request's chance chose it.
    pub drawn: bool,
    /// What comes of a request whose chance chooses it.
    pub verdict: Verdict,
}

/// Why a candidate does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// A listener or connection of another kind: TLS where none is spoken, or the other way round.
    OtherKind,
    /// Its hostname does not cover the host.
    HostNotCovered,
    /// A listener with a more specific hostname covers the host.
    LessSpecific,
    /// The host belongs to it, but the connection was made to another listener.
    ConnectedToOther(ListenerKey),
    /// The request is not what it asks for.
    Mismatch {
        /// What it asks for.
        wanted: String,
        /// What the request has.
        found: String,
    },
    /// It covers the request, but another comes first.
    LowerPrecedence,
}

impl<C> View<C> {
    /// Explains what [`decide`](Self::decide) would say to the same arguments.
    pub fn explain(&self, arrival: &Arrival, head: &RequestHead, draw: u64) -> Explanation {
        let found = self.find(arrival, head);
        let decision = self.decide(arrival, head, draw);
        let (matches, matches_of_other_hostnames) = self.match_candidates(arrival, head, found.ok());
        let plan = found.ok().map(|entry| self.plan(entry));
        Explanation {
            request: format!("{} on port {}", Sent::of(head), arrival.bind.port),
            listeners: self.listener_candidates(arrival, head),
            matches,
            matches_of_other_hostnames,
            steps: plan.map(|plan| self.steps_of(arrival, head, plan)).unwrap_or_default(),
            backends: plan.map(|plan| backends_of(plan, arrival, head, draw)).unwrap_or_default(),
            verdict: Verdict::of(&decision, head),
        }
    }

    fn steps_of(&self, arrival: &Arrival, head: &RequestHead, plan: &Plan<C>) -> Vec<String> {
        let listener = self.choose_listener(arrival, head.host()).ok();
        let mut steps = listener.map(|table| terms::of_listener(&table.listener)).unwrap_or_default();
        steps.extend(terms::of_plan(plan));
        steps.extend(steps_of(plan));
        for backend in &plan.backends {
            let PlanTarget::Cluster(key, _) = &backend.target else { continue };
            let said = self.compiled().cluster(key).map(|cluster| terms::of_cluster(cluster));
            // Several backends may be one cluster, with filters of their own.
            steps.extend(said.filter(|said| !steps.contains(said)));
        }
        steps
    }

    fn listener_candidates(&self, arrival: &Arrival, head: &RequestHead) -> Vec<ListenerCandidate> {
        let chosen = self.choose_listener(arrival, head.host());
        let all = self.compiled().bind(&arrival.bind).map(|behind| behind.by_host.all()).unwrap_or_default();
        // The most specific one that covers the host: all others that cover it are less specific.
        let owner = all.iter().position(|(hostname, _)| hostname.matches(head.host()));
        let why_not = |index: usize, hostname: &HostPattern| match (&chosen, &arrival.listener) {
            _ if !hostname.matches(head.host()) => Some(WhyNot::HostNotCovered),
            _ if owner != Some(index) => Some(WhyNot::LessSpecific),
            (Ok(_), _) => None,
            (Err(Refusal::Misdirected), Some(shown)) => Some(WhyNot::ConnectedToOther(shown.clone())),
            (Err(_), _) => Some(WhyNot::OtherKind),
        };
        let candidates = all.iter().enumerate().map(|(index, (hostname, table))| ListenerCandidate {
            key: table.listener.key.clone(),
            hostname: hostname.clone(),
            why_not: why_not(index, hostname),
        });
        candidates.collect()
    }

    /// The candidates among the matches of the chosen listener, and how many more there are for other hostnames.
    fn match_candidates(
        &self,
        arrival: &Arrival,
        head: &RequestHead,
        serves: Option<&Entry>,
    ) -> (Vec<MatchCandidate>, usize) {
        let Ok(listener) = self.choose_listener(arrival, head.host()) else { return (Vec::new(), 0) };
        let (mut candidates, mut others) = (Vec::new(), 0);
        for (hostname, table) in listener.hosts.all() {
            if !hostname.matches(head.host()) {
                others += table.entries.len();
                continue;
            }
            for entry in &table.entries {
                let mismatch = self.mismatch(entry, head, false);
                let why_not = match mismatch {
                    _ if serves.is_some_and(|serves| std::ptr::eq(serves, entry)) => None,
                    None => Some(WhyNot::LowerPrecedence),
                    Some(mismatch) => {
                        let it = &self.matches(entry)[entry.matching as usize];
                        Some(WhyNot::Mismatch {
                            wanted: wanted(it, mismatch),
                            found: found(it, mismatch, head),
                        })
                    }
                };
                let attached = self.compiled().attached(entry.slot);
                candidates.push(MatchCandidate {
                    hostname: hostname.clone(),
                    route: attached.route.key().clone(),
                    rule: entry.rule as usize,
                    rule_name: attached.rules()[entry.rule as usize].name.clone(),
                    matching: entry.matching as usize,
                    why_not,
                });
            }
        }
        (candidates, others)
    }
}

fn field(name: &str, value: &str) -> String {
    format!("{name}: {value}")
}

fn wanted(it: &HttpMatch, mismatch: Mismatch) -> String {
    match mismatch {
        Mismatch::Path => path(&it.path),
        Mismatch::Method => it.method.as_ref().map(|method| format!("method {method}")).unwrap_or_default(),
        Mismatch::Header(index) => {
            let header = &it.headers[index];
            format!("header {} {}", header.name, value(&header.value))
        }
        Mismatch::Query(index) => {
            let query = &it.query[index];
            format!("query parameter {} {}", query.name, value(&query.value))
        }
    }
}

fn found(it: &HttpMatch, mismatch: Mismatch, head: &RequestHead) -> String {
    match mismatch {
        Mismatch::Path => head.path().to_owned(),
        Mismatch::Method => head.method.to_string(),
        Mismatch::Header(index) => {
            let name = it.headers[index].name.as_str();
            if name == "host" {
                return head.authority().to_owned();
            }
            let values: Vec<_> = head.fields.all(name).map(String::from_utf8_lossy).collect();
            if values.is_empty() { "none".into() } else { format!("\"{}\"", values.join(",")) }
        }
        Mismatch::Query(_) => head.query().map_or("no query".into(), |query| format!("?{query}")),
    }
}

fn path(it: &PathMatch) -> String {
    match it {
        PathMatch::Exact(path) => format!("path {path}"),
        PathMatch::Prefix(prefix) => format!("path prefix {}", prefix_text(prefix)),
        PathMatch::Regex(pattern) => format!("path like {}", pattern.source()),
        PathMatch::Grpc(grpc) => {
            let GrpcMatch { service, method } = &**grpc;
            let part = |part: &Option<ValueMatch>| part.as_ref().map_or("any".into(), value);
            format!("gRPC service {}, method {}", part(service), part(method))
        }
    }
}

fn value(it: &ValueMatch) -> String {
    match it {
        ValueMatch::Exact(text) => format!("\"{text}\""),
        ValueMatch::Regex(pattern) => format!("like {}", pattern.source()),
    }
}

fn steps_of<C>(plan: &Plan<C>) -> Vec<String> {
    let mut steps = Vec::new();
    steps_into(&mut steps, "", &plan.request_steps, &plan.response_steps, plan.end.as_ref());
    for backend in &plan.backends {
        let prefix = match &backend.target {
            PlanTarget::Cluster(key, _) => format!("for {key}: "),
            PlanTarget::Invalid => "for an invalid backend: ".into(),
        };
        steps_into(
            &mut steps,
            &prefix,
            &backend.request_steps,
            &backend.response_steps,
            backend.end.as_ref(),
        );
    }
    steps
}

fn steps_into<C>(
    steps: &mut Vec<String>,
    prefix: &str,
    request: &[RequestStep<C>],
    response: &[ResponseStep],
    end: Option<&PlanEnd>,
) {
    let request = request.iter().map(request_step);
    let response = response.iter().map(response_step);
    let end = end.map(|end| match end {
        PlanEnd::Redirect(redirect) => format!("redirect with {}", redirect.status.code().as_u16()),
        PlanEnd::Unresolved => "fail: a filter cannot be resolved".into(),
    });
    steps.extend(request.chain(response).chain(end).map(|step| format!("{prefix}{step}")));
}

fn request_step<C>(step: &RequestStep<C>) -> String {
    match step {
        RequestStep::Edit(edits) => format!("request headers: {}", edits_of(edits)),
        RequestStep::Host(host) => format!("host becomes {host}"),
        RequestStep::Path(PathRewrite::Full(full)) => format!("path becomes {full}"),
        RequestStep::Path(PathRewrite::Prefix { matched, replacement }) => {
            format!("path prefix {} becomes {replacement}", prefix_text(matched))
        }
        RequestStep::Mirror { key, fraction, .. } => format!("copy {fraction} to {key}"),
    }
}

fn response_step(step: &ResponseStep) -> String {
    match step {
        ResponseStep::Edit(edits) => format!("response headers: {}", edits_of(edits)),
        ResponseStep::Cors(_) => "CORS: answer preflights, mark responses".into(),
    }
}

fn edits_of(edits: &HeaderEdits) -> String {
    effect::edits_in_order(edits).map(|edit| edit.to_string()).collect::<Vec<_>>().join(", ")
}

/// A prefix as people write it: the root is `/`.
fn prefix_text(prefix: &PathPrefix) -> &str {
    if prefix.as_str().is_empty() { "/" } else { prefix.as_str() }
}

fn backends_of<C>(
    plan: &Rc<Plan<C>>,
    arrival: &Arrival,
    head: &RequestHead,
    draw: u64,
) -> Vec<BackendCandidate> {
    let Some(choice) = &plan.choice else { return Vec::new() };
    let drawn = plan.draw(draw);
    let total = choice.iter().map(|(_, weight)| weight).sum();
    choice
        .iter()
        .map(|(index, weight)| BackendCandidate {
            cluster: match &plan.backends[*index].target {
                PlanTarget::Cluster(key, _) => Some(key.clone()),
                PlanTarget::Invalid => None,
            },
            weight,
            total,
            drawn: drawn == Some(*index),
            verdict: Verdict::of(&route::decide_drawn(plan, arrival, head, Some(*index)), head),
        })
        .collect()
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherKind => f.write_str("it speaks another protocol"),
            Self::HostNotCovered => f.write_str("the host is not covered"),
            Self::LessSpecific => f.write_str("a more specific listener covers the host"),
            Self::ConnectedToOther(other) => {
                write!(f, "the host is its own, but the connection was made to {other}")
            }
            Self::Mismatch { wanted, found } => write!(f, "it wants {wanted}, not {found}"),
            Self::LowerPrecedence => f.write_str("it fits, but another comes first"),
        }
    }
}

impl fmt::Display for Explanation {
    /// `+` marks what serves, `-` what does not and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        writeln!(f, "listeners")?;
        for ListenerCandidate { key, hostname, why_not } in &self.listeners {
            line(f, format_args!("{key} for {hostname}"), why_not.as_ref())?;
        }
        writeln!(f, "rules")?;
        for it in &self.matches {
            let name = it.rule_name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            let (route, rule, matching, hostname) = (&it.route, it.rule, it.matching, &it.hostname);
            let what = format_args!("{route} rule {rule}{name} match {matching} for {hostname}");
            line(f, what, it.why_not.as_ref())?;
        }
        if self.matches_of_other_hostnames > 0 {
            writeln!(f, "  - {} more for other hostnames", self.matches_of_other_hostnames)?;
        }
        if !self.steps.is_empty() {
            writeln!(f, "steps")?;
            self.steps.iter().try_for_each(|step| writeln!(f, "    {step}"))?;
        }
        if !self.backends.is_empty() {
            writeln!(f, "backends")?;
        }
        for it in &self.backends {
            let mark = if it.drawn { '+' } else { '-' };
            let name = it.cluster.as_ref().map_or("invalid reference", |key| key.as_str());
            write!(f, "  {mark} {name}: {} of {}", it.weight, it.total)?;
            match &it.verdict {
                Verdict::Answer { status, details, .. } if !it.drawn => {
                    writeln!(f, ", answer {} ({details})", status.as_u16())?;
                }
                _ => writeln!(f)?,
            }
        }
        writeln!(f, "{}", self.verdict)
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: fmt::Arguments<'_>, why_not: Option<&WhyNot>) -> fmt::Result {
    match why_not {
        None => writeln!(f, "  + {what}"),
        Some(why_not) => writeln!(f, "  - {what}: {why_not}"),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Method};
    use ringway_config::{
        CanonicalPath, Filter, Fraction, HeaderMatch, ListenerProtocol, Mirror, Rewrite, Weighted,
    };

    use super::*;
    use crate::fixture::*;

    #[test]
    fn an_explanation_reads_in_lines() {
        let edits = HeaderEdits {
            set: vec![(HeaderName::from_static("x-team"), HeaderValue::from_static("blue"))],
            ..HeaderEdits::default()
        };
        let rewrite =
            Rewrite { hostname: None, path: Some(PathRewrite::Full(CanonicalPath::parse("/v2").unwrap())) };
        let mirror = Mirror { cluster: ClusterKey::new("shadow"), fraction: Fraction::new(1, 4).unwrap() };
        let version =
            HeaderMatch { name: HeaderName::from_static("version"), value: ValueMatch::Exact("two".into()) };
        let rules = vec![
            rule(vec![HttpMatch { headers: vec![version], ..matching("/api") }], "canary"),
            rule(vec![HttpMatch { method: Some(Method::POST), ..matching("/api") }], "writes"),
            rule_with(
                vec![matching("/api")],
                vec![Filter::RequestHeaders(edits), Filter::Rewrite(rewrite), Filter::Mirror(mirror)],
                Weighted::new(vec![(backend("a"), 70), (backend("!"), 30)]),
            ),
            rule(vec![matching("/"), matching("=/other")], "rest"),
        ];
        let view = view(
            vec![
                http_listener("wild", "*.example.com"),
                http_listener("all", ""),
                http_listener("org", "x.org"),
            ],
            vec![
                http_route("app", 0, &[("wild", &["www.example.com", "old.example.com"])], rules),
                http_route(
                    "fallback",
                    0,
                    &[("wild", &["*.example.com"])],
                    vec![rule(vec![matching("/")], "f")],
                ),
            ],
        );
        let head = request("GET www.example.com/api/users?x=1", &[("version", "one")]);
        assert_eq!(
            view.explain(&plain(80), &head, 0).to_string(),
            "\
GET www.example.com/api/users?x=1 on port 80
listeners
  - org for x.org: the host is not covered
  + wild for *.example.com
  - all for *: a more specific listener covers the host
rules
  - app rule 3 match 1 for www.example.com: it wants path /other, not /api/users
  - app rule 1 match 0 for www.example.com: it wants method POST, not GET
  - app rule 0 match 0 for www.example.com: it wants header version \"two\", not \"one\"
  + app rule 2 match 0 for www.example.com
  - app rule 3 match 0 for www.example.com: it fits, but another comes first
  - fallback rule 0 match 0 for *.example.com: it fits, but another comes first
  - 5 more for other hostnames
steps
    request headers: set x-team: blue
    path becomes /v2
    copy 1/4 to shadow
backends
  + a: 70 of 100
  - invalid reference: 30 of 100, answer 500 (backend reference is invalid)
forward to a: GET www.example.com/v2?x=1
"
        );
    }

    #[test]
    fn what_is_not_served_is_explained_too() {
        let https =
            |name: &str, host: &str| listener(name, 443, ListenerProtocol::Https(termination()), host);
        let view = view(vec![https("a", "a.com"), https("b", "b.com"), https("every", "")], vec![]);
        assert_eq!(
            view.explain(&secure(443, "a"), &get("b.com/"), 0).to_string(),
            "\
GET b.com/ on port 443
listeners
  - b for b.com: the host is its own, but the connection was made to a
  - a for a.com: the host is not covered
  - every for *: a more specific listener covers the host
rules
answer 421 (misdirected request)
"
        );
        let plainly = view.explain(&plain(443), &get("b.com/"), 0);
        assert!(plainly.listeners.iter().any(|candidate| candidate.why_not == Some(WhyNot::OtherKind)));
        assert!(view.explain(&plain(81), &get("b.com/"), 0).listeners.is_empty());
    }
}
