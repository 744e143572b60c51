//! The backend of a feature file: it answers with what it was asked, unless the request asks for something else.
//!
//! | field of the request | what it asks for |
//! |---|---|
//! | `x-delay-ms` | an answer that late |
//! | `x-fail-status` | this status instead; 0 ends the connection without an answer |
//! | `x-times` | both only for so many requests of this target, and then as ever |
//! | `x-ill` | a 503, from the backend of this name |
//! | `x-hold` | an answer once the gate is open |
//! | `x-answer` | fields of the answer, as `name: value, name: value` |

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ringway_e2e::{Backend, DEADLINE, Identity, Received, Reply};
use serde_json::json;

/// Keeps answers back until all that should happen meanwhile has happened.
#[derive(Default)]
pub(crate) struct Gate {
    held: AtomicUsize,
    open: Mutex<bool>,
    opens: Condvar,
}

impl Gate {
    /// How many have come to it.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Keeps what comes from now on, or lets all go on.
    pub(crate) fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        if !open {
            self.held.store(0, Ordering::Relaxed);
        }
        self.opens.notify_all();
    }

    fn pass(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
        let open = self.open.lock().unwrap();
        // A test that fails opens nothing.
        drop(self.opens.wait_timeout_while(open, DEADLINE, |open| !*open).unwrap());
    }
}

/// A backend of this name.
pub(crate) fn obliging(name: &str, identity: Option<&Identity>, gate: &Arc<Gate>) -> Backend {
    let gate = Arc::clone(gate);
    let name = name.to_owned();
    let seen: Mutex<HashMap<String, u64>> = Mutex::default();
    let answer = move |request: &Received| {
        let number = |field: &str| request.field(field).map(|value| value.parse::<u64>().unwrap());
        let odd = number("x-times").is_none_or(|times| {
            let mut seen = seen.lock().unwrap();
            let count = seen.entry(request.target.clone()).or_default();
            *count += 1;
            *count <= times
        });
        if let Some(delay) = number("x-delay-ms").filter(|_| odd) {
            std::thread::sleep(Duration::from_millis(delay));
        }
        if let Some(status) = number("x-fail-status").filter(|_| odd) {
            let status = u16::try_from(status).unwrap();
            return Reply { status, fields: vec![], body: b"as asked".to_vec() };
        }
        if request.field("x-ill") == Some(&*name) {
            return Reply { status: 503, fields: vec![], body: b"ill".to_vec() };
        }
        if request.field("x-hold").is_some() {
            gate.pass();
        }
        let asked = request.field("x-answer").unwrap_or_default();
        let pairs = asked.split(", ").filter_map(|pair| pair.split_once(": "));
        let facts = json!({
            "backend": name, "method": request.method, "target": request.target, "fields": request.fields,
            "connection": request.connection, "bodyBytes": request.body.len(),
        });
        Reply {
            status: 200,
            fields: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: facts.to_string().into_bytes(),
        }
    };
    match identity {
        Some(identity) => Backend::secure(identity, answer),
        None => Backend::answering(answer),
    }
}
