//! What is done to a request on its way up and to its response on its way down, one value a step.
//!
//! A new policy is a new step: nothing in `serve` changes. Applying pure steps is done here; a step that needs the
//! outside (a mirror) is handed to the proxy as a value.

use std::rc::Rc;
use std::sync::Arc;

use ringway_config::{ClusterKey, Cors, Fraction, HeaderEdits, Rewrite};

/// One step for a request. `C` is the core's live cluster.
#[derive(Debug)]
pub enum RequestStep<C> {
    /// Edits headers.
    Edit(Arc<HeaderEdits>),
    /// Changes host or path.
    Rewrite(Arc<Rewrite>),
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
    Edit(Arc<HeaderEdits>),
    /// Marks a cross-origin response.
    Cors(Arc<Cors>),
}
