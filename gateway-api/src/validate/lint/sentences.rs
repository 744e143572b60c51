//! A condition's message as sentences, each about a field.

/// The sentences of a message, each with the field that it begins with: `spec.rules[0]: what is wrong;
/// spec.rules[1]: …`.
pub(super) fn sentences(message: &str) -> Vec<(Option<String>, String)> {
    let mut all: Vec<(Option<String>, String)> = vec![];
    for part in message.split("; ") {
        match (field_of(part), all.last_mut()) {
            (Some((field, sentence)), _) => all.push((Some(field), sentence.to_owned())),
            (None, Some((_, sentence))) => {
                sentence.push_str("; ");
                sentence.push_str(part);
            }
            (None, None) => all.push((None, part.to_owned())),
        }
    }
    all
}

fn field_of(part: &str) -> Option<(String, &str)> {
    let (field, sentence) = part.split_once(": ")?;
    let path = field.starts_with(|first: char| first.is_ascii_lowercase())
        && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._[]-/".contains(&byte));
    if !path {
        return None;
    }
    // An annotation is named by its key.
    match sentence.split_once(": ") {
        Some((key, sentence)) if field == "metadata.annotations" && !key.contains(' ') => {
            Some((format!("{field}[\"{key}\"]"), sentence))
        }
        _ => Some((field.to_owned(), sentence)),
    }
}

/// A field that a listener names from itself is found from the object.
pub(super) fn within(at: &str, field: &str) -> String {
    let root = field.split(['.', '[']).next();
    let absolute = matches!(root, Some("spec" | "metadata"));
    if absolute || at.is_empty() { field.to_owned() } else { format!("{at}.{field}") }
}
