//! What to do with a request. Deciding is pure (`route`); acting on it is `ringway-proxy`'s `serve`.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use ringway_config::{ClusterKey, HttpKind, ListenerKey, Redirect, Retry, RouteKey, Timeouts, Weighted};

use crate::failure::{Flag, Flags};
use crate::message::Fields;
use crate::step::{RequestStep, ResponseStep};
use crate::summary::Labels;

/// What to do with a request.
#[derive(Debug)]
pub enum Decision<C> {
    /// Send it to a backend of a plan.
    Forward(Forward<C>),
    /// Reply ourselves: a redirect, a preflight, or a refusal with its reason.
    Answer(Answer),
}

/// A plan and which of its backends was drawn for this request.
#[derive(Debug)]
pub struct Forward<C> {
    /// What its rule says. Kept for the request's life, whatever the configuration becomes.
    pub plan: Rc<Plan<C>>,
    /// Index into the plan's backends.
    pub backend: usize,
}

impl<C> Forward<C> {
    /// The drawn backend.
    pub fn backend(&self) -> &PlanBackend<C> {
        &self.plan.backends[self.backend]
    }

    /// The cluster of the drawn backend; `None` if there is none, which no decision to forward has.
    pub fn cluster(&self) -> Option<(&ClusterKey, &Rc<C>)> {
        match &self.backend().target {
            PlanTarget::Cluster(key, cluster) => Some((key, cluster)),
            PlanTarget::Invalid => None,
        }
    }
}

// Not derived: a shared plan is cloned, not the `C` in it.
impl<C> Clone for Forward<C> {
    fn clone(&self) -> Self {
        Self { plan: Rc::clone(&self.plan), backend: self.backend }
    }
}

impl<C> Clone for Decision<C> {
    fn clone(&self) -> Self {
        match self {
            Self::Forward(forward) => Self::Forward(forward.clone()),
            Self::Answer(answer) => Self::Answer(answer.clone()),
        }
    }
}

/// A rule as one core executes it. `C` is the core's live cluster: endpoints, health, pools.
#[derive(Debug)]
pub struct Plan<C> {
    /// The listener that serves it.
    pub listener: ListenerKey,
    /// The route it belongs to.
    pub route: RouteKey,
    /// What its answers are counted under.
    pub labels: Rc<Labels>,
    /// The rule's place in its route.
    pub rule: usize,
    /// The rule's name, if it has one.
    pub rule_name: Option<Arc<str>>,
    /// How errors of ours are told.
    pub kind: HttpKind,
    /// What is done to the request before it is sent, in order, for every backend.
    pub request_steps: Vec<RequestStep<C>>,
    /// What is done to the response, in order, for every backend.
    pub response_steps: Vec<ResponseStep>,
    /// What a filter answers instead of forwarding.
    pub end: Option<PlanEnd>,
    /// Where requests may go.
    pub backends: Vec<PlanBackend<C>>,
    /// Indexes into `backends` by weight; `None`: 500.
    pub choice: Option<Weighted<usize>>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What is tried again by policy.
    pub retry: Option<Retry>,
    /// Largest request body.
    pub request_body_bytes_max: Option<u64>,
}

impl<C> Plan<C> {
    /// The backend that this chance chooses; `None` if there is none to choose.
    pub fn draw(&self, draw: u64) -> Option<usize> {
        // The upper half; the lower is left to the balancer.
        self.choice.as_ref().map(|choice| *choice.pick((draw >> 32) as u32))
    }
}

/// A backend of a plan.
#[derive(Debug)]
pub struct PlanBackend<C> {
    /// Where its share goes.
    pub target: PlanTarget<C>,
    /// What its requests are counted under.
    pub labels: Rc<Labels>,
    /// Further steps for the request, after the rule's.
    pub request_steps: Vec<RequestStep<C>>,
    /// Further steps for the response, before the rule's.
    pub response_steps: Vec<ResponseStep>,
    /// What a filter of this backend answers instead of forwarding.
    pub end: Option<PlanEnd>,
}

/// A filter that ends the request here.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanEnd {
    /// A redirect.
    Redirect(Redirect),
    /// A filter that could not be resolved: 500, whatever else is asked for (checklist F14).
    Unresolved,
}

/// Where a backend's share goes.
#[derive(Debug)]
pub enum PlanTarget<C> {
    /// To a live cluster.
    Cluster(ClusterKey, Rc<C>),
    /// Nowhere: 500 (checklist B1).
    Invalid,
}

/// A reply of our own.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Fields beside `content-length`, `content-type` and `date`.
    pub fields: Fields,
    /// The body.
    pub body: AnswerBody,
    /// Why, for the access log; empty for what is no error.
    pub flags: Flags,
    /// Why, in words for the access log (`response_code_details`): names the limit or the cause, no internal detail.
    pub details: &'static str,
    /// For gRPC: the status that replaces the HTTP one (which becomes 200).
    pub grpc_status: Option<u8>,
    /// The connection (HTTP/1) cannot be used again.
    pub close: bool,
    /// What it is counted under: the listener that answers, if one was found, and the route, if one matched.
    pub labels: Option<Rc<Labels>>,
}

/// The body of an [`Answer`].
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerBody {
    /// None.
    Empty,
    /// Plain text.
    Text(Cow<'static, str>),
}

impl AnswerBody {
    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Text(text) => text.len() as u64,
        }
    }
}

impl Answer {
    /// A refusal: a status, the reason as a flag, and words for the log that are also the body.
    pub fn refuse(status: StatusCode, flag: Flag, details: &'static str) -> Self {
        Self {
            status,
            fields: Fields::new(),
            body: AnswerBody::Text(details.into()),
            flags: Flags::from(flag),
            details,
            grpc_status: None,
            close: false,
            labels: None,
        }
    }

    /// A reply that is no error.
    pub fn reply(status: StatusCode, details: &'static str) -> Self {
        Self {
            status,
            fields: Fields::new(),
            body: AnswerBody::Empty,
            flags: Flags::default(),
            details,
            grpc_status: None,
            close: false,
            labels: None,
        }
    }

    /// The status that the client sees. Errors of gRPC are told in fields; its HTTP status is always 200.
    pub fn shown_status(&self) -> StatusCode {
        if self.grpc_status.is_some() { StatusCode::OK } else { self.status }
    }

    /// The listener that answers, if one was found.
    pub fn listener(&self) -> Option<&ListenerKey> {
        self.labels.as_ref()?.listener.as_ref()
    }

    /// The route that answers, if one matched.
    pub fn route(&self) -> Option<&RouteKey> {
        self.labels.as_ref()?.route.as_ref()
    }

    /// The same for a gRPC client.
    pub fn for_grpc(mut self, grpc_status: u8) -> Self {
        self.grpc_status = Some(grpc_status);
        self
    }

    /// The same, closing the connection.
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }
}
