//! UDP: datagrams of a client belong to a session, and a session to one endpoint.

use std::rc::Rc;

use ringway_config::Bind;

use crate::env::Env;
use crate::signal::Signal;
use crate::worker::Worker;

/// Serves a bind until told to stop.
pub(crate) async fn serve<E: Env>(
    _worker: Rc<Worker<E>>,
    _bind: Bind,
    _datagrams: E::Datagrams,
    stop: Rc<Signal>,
) {
    stop.wait().await;
}
