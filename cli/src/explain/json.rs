//! An explanation for tools.

use ringway_core::Explanation;
use ringway_core::explain::{
    BackendCandidate, Copied, FieldEdit, ListenerCandidate, MatchCandidate, Sent, Verdict, WhyNot,
};
use serde_json::{Value, json};

/// All of an explanation.
pub(super) fn explanation(it: &Explanation) -> Value {
    json!({
        "request": it.request,
        "listeners": it.listeners.iter().map(listener).collect::<Vec<_>>(),
        "rules": it.matches.iter().map(rule).collect::<Vec<_>>(),
        "rulesForOtherHostnames": it.matches_of_other_hostnames,
        "steps": it.steps,
        "backends": it.backends.iter().map(backend).collect::<Vec<_>>(),
        "verdict": verdict(&it.verdict),
    })
}

fn listener(it: &ListenerCandidate) -> Value {
    json!({
        "listener": it.key.as_str(),
        "hostname": it.hostname.to_string(),
        "serves": it.why_not.is_none(),
        "whyNot": it.why_not.as_ref().map(WhyNot::to_string),
    })
}

fn rule(it: &MatchCandidate) -> Value {
    json!({
        "hostname": it.hostname.to_string(),
        "route": it.route.as_str(),
        "rule": it.rule,
        "name": it.rule_name.as_deref(),
        "match": it.matching,
        "serves": it.why_not.is_none(),
        "whyNot": it.why_not.as_ref().map(WhyNot::to_string),
    })
}

fn backend(it: &BackendCandidate) -> Value {
    json!({
        "cluster": it.cluster.as_ref().map(|key| key.as_str()),
        "weight": it.weight,
        "total": it.total,
        "drawn": it.drawn,
        "verdict": verdict(&it.verdict),
    })
}

fn verdict(it: &Verdict) -> Value {
    match it {
        Verdict::Forward { cluster, request, copies, response } => json!({
            "does": "forward",
            "cluster": cluster.as_str(),
            "request": sent(request),
            "copies": copies.iter().map(copied).collect::<Vec<_>>(),
            "response": response.iter().map(edit).collect::<Vec<_>>(),
        }),
        Verdict::Answer { status, grpc_status, details, fields: of_answer } => json!({
            "does": "answer",
            "status": status.as_u16(),
            "grpcStatus": grpc_status,
            "details": details,
            "fields": fields(of_answer),
        }),
    }
}

fn copied(it: &Copied) -> Value {
    json!({
        "cluster": it.cluster.as_str(),
        "fraction": it.fraction.to_string(),
        "request": sent(&it.request),
    })
}

fn sent(it: &Sent) -> Value {
    json!({
        "method": it.method,
        "authority": it.authority,
        "target": it.target,
        "fields": fields(&it.fields),
    })
}

fn fields(it: &[(String, String)]) -> Vec<Value> {
    it.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

fn edit(it: &FieldEdit) -> Value {
    match it {
        FieldEdit::Set(name, value) => json!({"do": "set", "name": name, "value": value}),
        FieldEdit::Add(name, value) => json!({"do": "add", "name": name, "value": value}),
        FieldEdit::Remove(name) => json!({"do": "remove", "name": name}),
    }
}
