//! What to do, where the sentence knows better than its code.

use super::super::code::Code;

/// What is wrong, and what to do if that is not what the code says. A status has no place for a hint of its own, so some
/// sentences end with one: it is not to be said twice.
pub(super) fn hinted(code: Code, sentence: String) -> (String, Option<String>) {
    if let Some((what, hint)) = sentence.split_once("; use ") {
        return (what.to_owned(), Some(format!("use {hint}")));
    }
    let hint = match code {
        Code::BackendProtocol if sentence.contains("BackendTLSPolicy") => {
            Some("add one for this Service, or change its `appProtocol`".to_owned())
        }
        _ => None,
    };
    (sentence, hint)
}
