//! Conditions, and the problems that make them false.

use crate::objects::Condition;

/// Why something is not as it should be: a reason of the Gateway API, and a sentence that names object and field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// A condition that holds.
pub(crate) fn holds(kind: &str, reason: &str, message: impl Into<String>, generation: i64) -> Condition {
    condition(kind, "True", reason, message.into(), generation)
}

/// A condition that does not hold.
pub(crate) fn fails(kind: &str, reason: &str, message: impl Into<String>, generation: i64) -> Condition {
    condition(kind, "False", reason, message.into(), generation)
}

/// A condition that holds unless there are problems. The first one's reason stands for all; every message is shown.
pub(crate) fn unless(kind: &str, good: (&str, &str), problems: &[Problem], generation: i64) -> Condition {
    match problems {
        [] => holds(kind, good.0, good.1, generation),
        [first, ..] => fails(kind, first.reason, sentences(problems), generation),
    }
}

/// All messages, shown once each; past the fifth only their number.
pub(crate) fn sentences(problems: &[Problem]) -> String {
    const SHOWN_MAX: usize = 5;
    let mut distinct: Vec<&str> = vec![];
    for problem in problems {
        if !distinct.contains(&&*problem.message) {
            distinct.push(&problem.message);
        }
    }
    let mut text = distinct.iter().take(SHOWN_MAX).copied().collect::<Vec<_>>().join("; ");
    if distinct.len() > SHOWN_MAX {
        text.push_str(&format!("; and {} more", distinct.len() - SHOWN_MAX));
    }
    text
}

fn condition(kind: &str, status: &str, reason: &str, message: String, generation: i64) -> Condition {
    Condition {
        kind: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message,
        observed_generation: generation,
        last_transition_time: None,
    }
}
