//! What is done to a request on its way up and to its response on its way down, one value a step.
//!
//! A new policy is a new step: nothing in `serve` changes. Applying pure steps is done here; a step that needs the
//! outside (a mirror) is handed to the proxy as a value. The order (checklist F15): a rule's filters as they are
//! written, then those of the drawn backend; for the response the same backwards. Edits never touch framing.

use std::rc::Rc;
use std::sync::Arc;

use ringway_config::{ClusterKey, Cors, Fraction, HeaderEdits, PathRewrite};

use crate::decision::{Forward, Plan};
use crate::message::{Fields, RequestHead};
use crate::{cors, rewrite};

/// One step for a request. `C` is the core's live cluster.
#[derive(Debug)]
pub enum RequestStep<C> {
    /// Edits headers.
    Edit(HeaderEdits),
    /// Changes the host that the upstream sees.
    Host {
        /// The new host.
        host: Arc<str>,
        /// A port to show with it.
        port: Option<u16>,
    },
    /// Changes the path.
    Path(PathRewrite),
    /// Sends a copy of the request, as it is at this step, to another cluster.
    Mirror {
        /// Its name, for metrics.
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
    /// Its name, for metrics.
    pub key: ClusterKey,
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
                RequestStep::Edit(edits) => edit(&mut head.fields, edits),
                RequestStep::Host { host, port } => head.set_authority(host, *port),
                RequestStep::Path(path) => rewrite::apply(path, head),
                RequestStep::Mirror { key, cluster, fraction } => {
                    if fraction.hit(draw()) {
                        let (key, cluster) = (key.clone(), Rc::clone(cluster));
                        mirrors.push(MirrorTo { key, cluster, head: head.clone() });
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
            ResponseStep::Edit(edits) => edit(fields, edits),
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

/// Fields that say where a message ends or what its connection does: the codecs write them, no policy may.
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Edits fields: `set` replaces or adds, then `add` appends, then `remove` deletes (checklist F1).
pub fn edit(fields: &mut Fields, edits: &HeaderEdits) {
    let ours = |name: &str| !FRAMING.contains(&name);
    for (name, value) in edits.set.iter().filter(|(name, _)| ours(name.as_str())) {
        fields.set(name.as_str(), value.as_bytes());
    }
    for (name, value) in edits.add.iter().filter(|(name, _)| ours(name.as_str())) {
        fields.append(name.as_str().as_bytes(), value.as_bytes());
    }
    for name in edits.remove.iter().filter(|name| ours(name.as_str())) {
        fields.remove(name.as_str());
    }
}
