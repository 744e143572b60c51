//! What comes of a request: what a backend and the mirrors would get, what the response's steps do, or the answer.

use std::fmt;

use http::StatusCode;
use ringway_config::{ClusterKey, Fraction, HeaderEdits};

use super::field;
use crate::decision::{Decision, Forward};
use crate::message::{Fields, RequestHead};
use crate::step::{self, RequestStep, ResponseStep};
use crate::{cors, headers};

/// What comes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is forwarded.
    Forward {
        /// Where to.
        cluster: ClusterKey,
        /// The request that is sent, after all steps.
        request: Sent,
        /// What is sent elsewhere as well.
        copies: Vec<Copied>,
        /// What is done to the fields of the response, in order.
        response: Vec<FieldEdit>,
    },
    /// It is answered.
    Answer {
        /// The status that the client sees.
        status: StatusCode,
        /// For gRPC: the status that counts there.
        grpc_status: Option<u8>,
        /// Why.
        details: &'static str,
        /// The fields of the answer.
        fields: Vec<(String, String)>,
    },
}

/// A request as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// Host and port, as the `Host` field says them.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// All other fields, but for those that say how the message is framed.
    pub fields: Vec<(String, String)>,
}

/// A copy of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where to.
    pub cluster: ClusterKey,
    /// Of which share of the requests.
    pub fraction: Fraction,
    /// The request as it is at that step.
    pub request: Sent,
}

/// An edit of a response's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldEdit {
    /// The field has this value and no other.
    Set(String, String),
    /// The field has this value as well.
    Add(String, String),
    /// The field goes.
    Remove(String),
}

impl Verdict {
    /// A decision in words.
    pub fn of<C>(decision: &Decision<C>, head: &RequestHead) -> Self {
        match decision {
            Decision::Forward(forward) => {
                let mut sent = head.clone();
                let mut mirrors = Vec::new();
                // Every mirror that ever gets a copy gets this one; the shares are told beside it.
                forward.apply_request(&mut sent, &mut || 0, &mut mirrors);
                let copies = mirrored(forward).zip(mirrors).map(|((cluster, fraction), mirror)| Copied {
                    cluster: cluster.clone(),
                    fraction,
                    request: Sent::of(&mirror.head),
                });
                let cluster = forward.cluster().map(|(key, _)| key.clone());
                Self::Forward {
                    cluster: cluster.expect("only what has a cluster is forwarded"),
                    request: Sent::of(&sent),
                    copies: copies.collect(),
                    response: response_edits(forward, head),
                }
            }
            Decision::Answer(answer) => Self::Answer {
                status: answer.shown_status(),
                grpc_status: answer.grpc_status,
                details: answer.details,
                fields: pairs(&answer.fields),
            },
        }
    }
}

/// The mirrors that ever get a copy.
fn mirrored<C>(forward: &Forward<C>) -> impl Iterator<Item = (&ClusterKey, Fraction)> {
    let steps = forward.plan.request_steps.iter().chain(&forward.backend().request_steps);
    steps.filter_map(|step| match step {
        RequestStep::Mirror { key, fraction, .. } if fraction.hit(0) => Some((key, *fraction)),
        _ => None,
    })
}

fn response_edits<C>(forward: &Forward<C>, head: &RequestHead) -> Vec<FieldEdit> {
    let mut edits = Vec::new();
    for step in step::response_steps(&forward.plan, Some(forward.backend)) {
        match step {
            ResponseStep::Edit(of_rule) => {
                edits.extend(edits_in_order(of_rule).filter(|edit| headers::may_be_edited(edit.name())));
            }
            ResponseStep::Cors(policy) => {
                let Some(origin) = head.fields.first("origin") else { continue };
                let mut marks = Fields::new();
                if cors::mark(policy, origin, &mut marks) && !policy.credentials {
                    edits.push(FieldEdit::Remove("access-control-allow-credentials".to_owned()));
                }
                let of_cors = |(name, value): (String, String)| match &*name {
                    "vary" => FieldEdit::Add(name, value),
                    _ => FieldEdit::Set(name, value),
                };
                edits.extend(pairs(&marks).into_iter().map(of_cors));
            }
        }
    }
    edits
}

/// Edits in the order in which they are made.
pub(super) fn edits_in_order(edits: &HeaderEdits) -> impl Iterator<Item = FieldEdit> {
    let pair = |(name, value): &(http::HeaderName, http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let set = edits.set.iter().map(pair).map(|(name, value)| FieldEdit::Set(name, value));
    let add = edits.add.iter().map(pair).map(|(name, value)| FieldEdit::Add(name, value));
    set.chain(add).chain(edits.remove.iter().map(|name| FieldEdit::Remove(name.to_string())))
}

fn pairs(fields: &Fields) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    fields.iter().map(|(name, value)| (text(name), text(value))).collect()
}

impl Sent {
    /// A request as it is now.
    pub(super) fn of(head: &RequestHead) -> Self {
        let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
        Self {
            method: head.method.to_string(),
            authority: head.authority().to_owned(),
            target: format!("{}{query}", head.path()),
            fields: pairs(&head.fields),
        }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.authority, self.target)
    }
}

impl FieldEdit {
    /// The field's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Set(name, _) | Self::Add(name, _) | Self::Remove(name) => name,
        }
    }
}

impl fmt::Display for FieldEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(name, value) => write!(f, "set {}", field(name, value)),
            Self::Add(name, value) => write!(f, "add {}", field(name, value)),
            Self::Remove(name) => write!(f, "remove {name}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward { cluster, request, .. } => write!(f, "forward to {cluster}: {request}"),
            Self::Answer { status, grpc_status, details, fields } => {
                write!(f, "answer {}", status.as_u16())?;
                if let Some(grpc_status) = grpc_status {
                    write!(f, " with grpc-status {grpc_status}")?;
                }
                write!(f, " ({details})")?;
                fields.iter().try_for_each(|(name, value)| write!(f, "\n    {}", field(name, value)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use ringway_config::{Backend, Filter, Mirror, Weighted};

    use super::*;
    use crate::explain::Explanation;
    use crate::fixture::*;

    fn edits(set: &'static str, remove: &'static str) -> HeaderEdits {
        HeaderEdits {
            set: vec![(HeaderName::from_static(set), HeaderValue::from_static("1"))],
            add: vec![],
            remove: vec![HeaderName::from_static(remove)],
        }
    }

    fn explained(filters: Vec<Filter>, backends: Vec<(Backend, u32)>, line: &str) -> Explanation {
        let rule = rule_with(vec![matching("/")], filters, Weighted::new(backends));
        let view =
            view(vec![http_listener("http", "")], vec![http_route("r", 0, &[("http", &[""])], vec![rule])]);
        view.explain(&plain(80), &request(line, &[("content-type", "application/grpc")]), 0)
    }

    #[test]
    fn what_is_sent_where_and_what_becomes_of_the_response_is_told() {
        let mirror = |name: &str, share| {
            let fraction = Fraction::new(share, 4).unwrap();
            Filter::Mirror(Mirror { cluster: ClusterKey::new(name), fraction })
        };
        let filters = vec![
            mirror("before", 1),
            mirror("never", 0),
            Filter::RequestHeaders(edits("x-up", "content-type")),
            mirror("after", 4),
            Filter::ResponseHeaders(edits("x-rule", "x-gone")),
        ];
        let of_backend = vec![Filter::ResponseHeaders(edits("x-backend", "x-rule"))];
        let up = Backend { target: target("up"), filters: of_backend };
        let Verdict::Forward { request, copies, response, .. } =
            explained(filters, vec![(up, 1)], "GET h/a?b").verdict
        else {
            panic!("it is forwarded");
        };
        let fields = |sent: &Sent| sent.fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (request.to_string(), fields(&request)),
            ("GET h/a?b".to_owned(), vec!["x-up".to_owned()])
        );
        let copies: Vec<_> = copies
            .iter()
            .map(|copy| format!("{} {} {:?}", copy.fraction, copy.cluster, fields(&copy.request)))
            .collect();
        assert_eq!(copies, ["1/4 before [\"content-type\"]", "4/4 after [\"x-up\"]"]);
        let response: Vec<_> = response.iter().map(ToString::to_string).collect();
        assert_eq!(response, ["set x-backend: 1", "remove x-rule", "set x-rule: 1", "remove x-gone"]);
    }

    #[test]
    fn an_answer_to_grpc_has_the_status_that_its_client_sees() {
        let explained = explained(vec![], vec![], "POST h/a");
        let text = explained.verdict.to_string();
        assert_eq!(text, "answer 200 with grpc-status 14 (rule has no backend)");
    }
}
