//! The backend of a feature file: it answers with what it was asked, unless the request asks for something else.
//!
//! | field of the request | what it asks for |
//! |---|---|
//! | `x-delay-ms` | an answer that late |
//! | `x-fail-status` | this status instead; 0 ends the connection without an answer |
//! | `x-times` | both only for so many requests of this target, and then as ever |
//! | `x-answer` | fields of the answer, as `name: value, name: value` |

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use ringway_e2e::{Backend, Identity, Received, Reply};
use serde_json::json;

/// A backend of this name.
pub(crate) fn obliging(name: &str, identity: Option<&Identity>) -> Backend {
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
