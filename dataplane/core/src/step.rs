//! What is done to a request on its way up and to its response on its way down, one value a step.
//!
//! A new policy is a new step: nothing in `serve` changes. Applying pure steps is done here; a step that needs the
//! outside (a mirror) is handed to the proxy as a value. The order (checklist F15): a rule's filters as they are
//! written, then those of the drawn backend; for the response the same backwards.

use std::rc::Rc;
use std::sync::Arc;

use ringway_config::{ClusterKey, Cors, Fraction, HeaderEdits, PathRewrite};

use crate::decision::{Forward, Plan};
use crate::message::{Fields, RequestHead};
use crate::{cors, headers, rewrite};

/// One step for a request. `C` is the core's live cluster.
#[derive(Debug)]
pub enum RequestStep<C> {
    /// Edits headers.
    Edit(HeaderEdits),
    /// Changes the host that the upstream sees.
    Host(Arc<str>),
    /// Changes the path.
    Path(PathRewrite),
    /// Sends a copy of the request, as it is at this step, to another cluster.
    Mirror {
        /// Its name, for those who read the steps.
        key: ClusterKey,
        /// Where to.
        cluster: Rc<C>,
        /// Which share.
        fraction: Fraction,
    },
}

/// One step for a response.
#[derive(Debug)]
pub enum ResponseStep {
    /// Edits headers.
    Edit(HeaderEdits),
    /// Marks a cross-origin response.
    Cors(Cors),
}

impl ResponseStep {
    pub(crate) fn as_cors(&self) -> Option<&Cors> {
        match self {
            Self::Cors(cors) => Some(cors),
            Self::Edit(_) => None,
        }
    }
}

/// A copy of a request that the proxy sends elsewhere and forgets.
#[derive(Debug)]
pub struct MirrorTo<C> {
    /// Where to.
    pub cluster: Rc<C>,
    /// The copy's head.
    pub head: RequestHead,
}

/// What the response's steps need to know of the request, taken before its own steps change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// The `Origin` of a request whose response is to be marked.
    origin: Option<Box<[u8]>>,
}

impl<C> Forward<C> {
    /// What [`apply_response`](Self::apply_response) needs of the request as it came. Allocates for CORS only.
    pub fn facts(&self, head: &RequestHead) -> RequestFacts {
        facts(&self.plan, Some(self.backend), head)
    }

    /// Applies the request's steps. `draw` gives 32 random bits a call; copies to send are added to `mirrors`.
    pub fn apply_request(
        &self,
        head: &mut RequestHead,
        draw: &mut dyn FnMut() -> u32,
        mirrors: &mut Vec<MirrorTo<C>>,
    ) {
        for step in self.plan.request_steps.iter().chain(&self.backend().request_steps) {
            match step {
                RequestStep::Edit(edits) => headers::edit_request(head, edits),
                RequestStep::Host(host) => head.set_authority(host, None),
                RequestStep::Path(path) => rewrite::apply(path, head),
                RequestStep::Mirror { cluster, fraction, .. } => {
                    if fraction.hit(draw()) {
                        mirrors.push(MirrorTo { cluster: Rc::clone(cluster), head: head.clone() });
                    }
                }
            }
        }
    }

    /// Applies the response's steps to its fields, be it an upstream's response or an error of ours.
    pub fn apply_response(&self, facts: &RequestFacts, fields: &mut Fields) {
        apply_response(&self.plan, Some(self.backend), facts, fields);
    }
}

/// The facts for an answer or response of a plan, with the drawn backend if there is one.
pub(crate) fn facts<C>(plan: &Plan<C>, backend: Option<usize>, head: &RequestHead) -> RequestFacts {
    let marks = response_steps(plan, backend).any(|step| matches!(step, ResponseStep::Cors(_)));
    RequestFacts { origin: head.fields.first("origin").filter(|_| marks).map(Box::from) }
}

pub(crate) fn apply_response<C>(
    plan: &Plan<C>,
    backend: Option<usize>,
    facts: &RequestFacts,
    fields: &mut Fields,
) {
    for step in response_steps(plan, backend) {
        match step {
            ResponseStep::Edit(edits) => headers::edit(fields, edits),
            ResponseStep::Cors(policy) => {
                if let Some(origin) = &facts.origin {
                    cors::mark(policy, origin, fields);
                }
            }
        }
    }
}

/// The backend's steps, then the rule's.
pub(crate) fn response_steps<C>(
    plan: &Plan<C>,
    backend: Option<usize>,
) -> impl Iterator<Item = &ResponseStep> {
    let of_backend = backend.map(|index| &plan.backends[index].response_steps);
    of_backend.into_iter().flatten().chain(&plan.response_steps)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use ringway_config::{
        Backend, CanonicalPath, Filter, HttpRule, Mirror, PathPrefix, Redirect, RedirectStatus, Rewrite,
        Weighted,
    };

    use super::*;
    use crate::decision::Decision;
    use crate::fixture::*;
    use crate::route::View;

    fn edits(
        set: &[(&'static str, &'static str)],
        add: &[(&'static str, &'static str)],
        remove: &[&'static str],
    ) -> HeaderEdits {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        HeaderEdits {
            set: set.iter().map(pair).collect(),
            add: add.iter().map(pair).collect(),
            remove: remove.iter().map(|name| HeaderName::from_static(name)).collect(),
        }
    }

    fn shown(fields: &Fields) -> Vec<String> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    fn one_rule(rule: HttpRule) -> View<String> {
        view(vec![http_listener("http", "")], vec![http_route("r", 0, &[("http", &[""])], vec![rule])])
    }

    fn forward(view: &View<String>, head: &RequestHead) -> Forward<String> {
        match view.decide(&plain(80), head, 0) {
            Decision::Forward(forward) => forward,
            Decision::Answer(answer) => panic!("{answer:?}"),
        }
    }

    fn with_filters(filters: Vec<Filter>, of_backend: Vec<Filter>) -> View<String> {
        let backend = Backend { target: target("up"), filters: of_backend };
        one_rule(rule_with(vec![matching("/")], filters, Weighted::new(vec![(backend, 1)])))
    }

    #[test]
    fn filters_of_the_backend_follow_those_of_the_rule_up_and_precede_them_down() {
        // Checklist F2, F15.
        let view = with_filters(
            vec![
                Filter::RequestHeaders(edits(&[("x-up", "rule")], &[], &[])),
                Filter::ResponseHeaders(edits(&[], &[("x-down", "rule")], &[])),
            ],
            vec![
                Filter::RequestHeaders(edits(&[], &[("x-up", "backend")], &[])),
                Filter::ResponseHeaders(edits(&[], &[("x-down", "backend")], &[])),
            ],
        );
        let mut head = get("h/");
        let forward = forward(&view, &head);
        let facts = forward.facts(&head);
        forward.apply_request(&mut head, &mut || 0, &mut vec![]);
        assert_eq!(shown(&head.fields), ["x-up: rule", "x-up: backend"]);
        let mut response = Fields::new();
        forward.apply_response(&facts, &mut response);
        assert_eq!(shown(&response), ["x-down: backend", "x-down: rule"]);
    }

    #[test]
    fn a_rewrite_changes_host_and_path_for_the_upstream_only() {
        // Checklist F5, F6.
        let rewrite = Rewrite {
            hostname: Some("up.example.org".into()),
            path: Some(PathRewrite::Prefix {
                matched: PathPrefix::parse("/a").unwrap(),
                replacement: CanonicalPath::parse("/b").unwrap(),
            }),
        };
        let view = with_filters(vec![Filter::Rewrite(rewrite)], vec![]);
        let mut head = get("h:8080/a/x?q=/a");
        forward(&view, &head).apply_request(&mut head, &mut || 0, &mut vec![]);
        assert_eq!(
            (head.authority(), head.host(), head.path(), head.query()),
            ("up.example.org", "up.example.org", "/b/x", Some("q=/a"))
        );
    }

    #[test]
    fn setting_the_host_header_is_a_rewrite_of_the_host() {
        let view =
            with_filters(vec![Filter::RequestHeaders(edits(&[("host", "up.org:81")], &[], &[]))], vec![]);
        let mut head = get("h/");
        forward(&view, &head).apply_request(&mut head, &mut || 0, &mut vec![]);
        assert_eq!((head.authority(), head.host(), head.fields.len()), ("up.org:81", "up.org", 0));
    }

    #[test]
    fn each_mirror_gets_its_share_of_copies_as_the_request_is_at_its_place() {
        // Checklist F7.
        let mirror = |cluster: &str, numerator| {
            let fraction = Fraction::new(numerator, 100).unwrap();
            Filter::Mirror(Mirror { cluster: ClusterKey::new(cluster), fraction })
        };
        let view = with_filters(
            vec![
                mirror("before", 100),
                Filter::RequestHeaders(edits(&[("x-edited", "yes")], &[], &[])),
                mirror("half", 50),
                mirror("never", 0),
            ],
            vec![mirror("backend", 100)],
        );
        for (draw, expected) in [
            (0, vec![("before", 0), ("half", 1), ("backend", 1)]),
            (u32::MAX / 2 + 1, vec![("before", 0), ("backend", 1)]),
        ] {
            let mut head = get("h/");
            let mut mirrors = vec![];
            forward(&view, &head).apply_request(&mut head, &mut || draw, &mut mirrors);
            let copies: Vec<_> =
                mirrors.iter().map(|copy| (copy.cluster.as_str(), copy.head.fields.len())).collect();
            assert_eq!(copies, expected);
        }
    }

    #[test]
    fn a_mirror_that_is_not_there_leaves_the_request_alone() {
        // Checklist F7.
        let mirror = Mirror { cluster: ClusterKey::new("gone"), fraction: Fraction::ALL };
        let rule = rule_with(
            vec![matching("/")],
            vec![Filter::Mirror(mirror)],
            Weighted::new(vec![(backend("up"), 1)]),
        );
        let route = http_route("r", 0, &[("http", &[""])], vec![rule]);
        let compiled = crate::Compiled::from_nothing(&config(vec![http_listener("http", "")], vec![route]));
        let source = |key: &ClusterKey| (key.as_str() == "up").then(|| Rc::new(String::from("up")));
        let view = View::new(Arc::new(compiled), Rc::new(source));
        let mut head = get("h/");
        let mut mirrors = vec![];
        forward(&view, &head).apply_request(&mut head, &mut || 0, &mut mirrors);
        assert!(mirrors.is_empty());
    }

    #[test]
    fn a_filter_that_cannot_be_resolved_fails_its_requests_and_no_others() {
        // Checklist F14, B10; beside a redirect, it still is not skipped.
        let redirect = Filter::Redirect(Redirect {
            scheme: None,
            hostname: None,
            path: None,
            port: None,
            status: RedirectStatus::Found,
        });
        let up = || Weighted::new(vec![(backend("up"), 1)]);
        for (rule_filters, backend_filters) in [
            (vec![Filter::Unresolved], vec![]),
            (vec![redirect.clone(), Filter::Unresolved], vec![]),
            (vec![Filter::Unresolved, redirect], vec![]),
            (vec![], vec![Filter::Unresolved]),
        ] {
            let backend = Backend { target: target("up"), filters: backend_filters };
            let bad = rule_with(vec![matching("/bad")], rule_filters, Weighted::new(vec![(backend, 1)]));
            let good = rule_with(vec![matching("/")], vec![], up());
            let view = view(
                vec![http_listener("http", "")],
                vec![http_route("r", 0, &[("http", &[""])], vec![bad, good])],
            );
            assert_eq!(outcome(&view.decide(&plain(80), &get("h/bad"), 0)), "500");
            assert_eq!(outcome(&view.decide(&plain(80), &get("h/good"), 0)), "up");
        }
    }

    #[test]
    fn our_own_answers_of_a_rule_are_edited_like_its_responses() {
        let redirect = Redirect {
            scheme: Some("https".into()),
            hostname: None,
            path: None,
            port: None,
            status: RedirectStatus::Found,
        };
        let filters = vec![
            Filter::ResponseHeaders(edits(&[("strict-transport-security", "max-age=1")], &[], &[])),
            Filter::Redirect(redirect),
        ];
        let view = one_rule(rule_with(vec![matching("/")], filters, None));
        let Decision::Answer(answer) = view.decide(&plain(80), &get("h/"), 0) else { panic!() };
        assert_eq!(shown(&answer.fields), ["location: https://h/", "strict-transport-security: max-age=1"]);
    }
}
