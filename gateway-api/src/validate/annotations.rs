//! Annotations of ours that an object's kind does not have: ignored, they would be missed in silence.

use serde_json::Value;

use super::code::Code;
use super::nearest::nearest;
use super::walk::Checker;
use crate::objects::Kind;
use crate::translate::{ANNOTATION_PREFIX, ANNOTATIONS};

/// Says which annotations of ours are not read on an object of this kind.
pub(super) fn inspect(kind: &str, value: &Value, check: &mut Checker<'_>) {
    let Some(annotations) = value.pointer("/metadata/annotations").and_then(Value::as_object) else { return };
    for key in annotations.keys().filter(|key| key.starts_with(ANNOTATION_PREFIX)) {
        let on = |kinds: &[Kind]| kinds.iter().any(|known| known.as_str() == kind);
        let (message, hint) = match ANNOTATIONS.iter().find(|(known, _)| known == key) {
            Some((_, kinds)) if on(kinds) => continue,
            Some((_, kinds)) => {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
                (
                    format!("is not read on {kind}, so it is ignored"),
                    Some(format!("it belongs on {}", kinds.join(" or "))),
                )
            }
            None => {
                let here = ANNOTATIONS.iter().filter(|(_, kinds)| on(kinds));
                let near = near(key, here).or_else(|| near(key, ANNOTATIONS.iter()));
                (
                    "there is no such annotation, so it is ignored".to_owned(),
                    near.map(|near| format!("did you mean `{near}`?")),
                )
            }
        };
        check.report(&format!("metadata.annotations[\"{key}\"]"), Code::AnnotationUnknown, message, hint);
    }
}

fn near<'a>(key: &str, known: impl Iterator<Item = &'a (&'a str, &'a [Kind])>) -> Option<String> {
    let names = known.filter_map(|(known, _)| known.strip_prefix(ANNOTATION_PREFIX));
    nearest(key.strip_prefix(ANNOTATION_PREFIX)?, names).map(|name| format!("{ANNOTATION_PREFIX}{name}"))
}
