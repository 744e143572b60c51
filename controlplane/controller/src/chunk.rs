//! Reads a file chunk by chunk, one YAML document each, so that a save costs what changed and not what is there.
//!
//! Pure. A chunk that stands in the file as it did before is not parsed again; it is known by a hash, so that no text
//! is kept. Only what is certain is cut: where there may be anchors, directives or document ends, the whole text is one
//! chunk.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use ringway_gateway_api::manifest::{self, Document, ManifestError, SourceName, Stamp};
use ringway_gateway_api::objects::{DecodeError, Kind, Object, ObjectKey};
use ringway_gateway_api::validate::{Admitted, Finding, Severity, admit};
use serde_json::Value;

/// The age of an object that states none. All the same: names decide between equals, as after one `kubectl apply`.
const CREATED: &str = "2000-01-01T00:00:00Z";

/// A file that was read.
#[derive(Debug, Default)]
pub(crate) struct FileRead {
    pub(crate) chunks: Vec<Chunk>,
}

/// A part of a file's text.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    print: Print,
    /// How many lines stand before it.
    pub(crate) lines_before: u32,
    /// What it says; the same `Arc` as before if its text is.
    pub(crate) said: Arc<Said>,
}

/// What a chunk says. Lines count from the chunk's beginning.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) objects: Vec<ReadObject>,
    pub(crate) findings: Vec<Finding>,
}

/// An object as it was read.
#[derive(Debug)]
pub(crate) struct ReadObject {
    pub(crate) key: ObjectKey,
    pub(crate) object: Object,
    /// What its generation counts changes of.
    pub(crate) fingerprint: u64,
    pub(crate) generation: i64,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The last known fingerprint and generation of an object.
pub(crate) type Known<'k> = dyn Fn(&ObjectKey) -> Option<(u64, i64)> + 'k;

impl FileRead {
    /// Reads a text, as an API server would admit it. `Err`: it is broken, and this is all that was found.
    pub(crate) fn next(
        &self,
        source: &SourceName,
        text: String,
        known: &Known<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let before: HashMap<Print, &Arc<Said>> =
            self.chunks.iter().map(|chunk| (chunk.print, &chunk.said)).collect();
        let ranges = cut(&text);
        let mut chunks = Vec::with_capacity(ranges.len());
        let mut lines_before = 0;
        for range in ranges {
            let part = &text[range];
            let print = Print::of(part);
            let said = match before.get(&print) {
                Some(said) => Arc::clone(said),
                None => Arc::new(Said::read(source, part, known)),
            };
            if said.is_broken() {
                // Read once more as a whole, so that every place that is told is one of the file.
                return Err(Said::read(source, &text, known).findings);
            }
            chunks.push(Chunk { print, lines_before, said });
            lines_before += part.bytes().filter(|byte| *byte == b'\n').count() as u32;
        }
        Ok(Self { chunks })
    }
}

/// Stands for a text: 128 bits of it. Two texts of one file that share a print would be taken for one;
/// of a billion texts, no two do by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Print(u64, u64);

impl Print {
    fn of(text: &str) -> Self {
        // Two hashes that differ from the first bit on.
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            text.hash(&mut hasher);
            hasher.finish()
        };
        Self(half(0), half(1))
    }
}

impl Said {
    fn is_broken(&self) -> bool {
        self.findings.iter().any(is_fatal)
    }

    fn read(source: &SourceName, text: &str, known: &Known<'_>) -> Self {
        let (documents, errors) = manifest::parse(Arc::clone(source), text);
        let Admitted { documents, findings, .. } = admit(documents);
        let findings = errors.into_iter().map(Finding::from).chain(findings).collect();
        let mut said = Self { objects: Vec::with_capacity(documents.len()), findings };
        for document in documents {
            match read_object(document, known) {
                Ok(object) => said.objects.extend(object),
                Err(error) => said.findings.push(Finding::from(error)),
            }
        }
        said.findings.shrink_to_fit();
        said
    }
}

/// Whether a finding costs the whole file. A second definition of an object costs only itself.
pub(crate) fn is_fatal(finding: &Finding) -> bool {
    use ringway_gateway_api::validate::Code;
    finding.severity == Severity::Error && finding.code != Code::DuplicateObject
}

fn read_object(mut document: Document, known: &Known<'_>) -> Result<Option<ReadObject>, ManifestError> {
    let name = document.name();
    let mut value = std::mem::take(&mut document.value);
    let fingerprint = fingerprint(&value);
    let generation = match key_of(&value).and_then(|key| known(&key)) {
        Some((same, generation)) if same == fingerprint => generation,
        Some((_, generation)) => generation + 1,
        None => 1,
    };
    manifest::stamp(&mut value, &Stamp { created: CREATED, generation });
    let object = Object::decode(value).map_err(|error| {
        let (field, message) = match error {
            DecodeError::Field { path, message } => (path, message),
            DecodeError::Untyped => ("kind".to_owned(), "missing".to_owned()),
            DecodeError::Unnamed => ("metadata.name".to_owned(), "missing".to_owned()),
        };
        let place = document.place(&field);
        ManifestError { place, problem: manifest::Problem::Field { object: name.into(), field, message } }
    })?;
    let place = document.place("");
    Ok(object.map(|object| ReadObject {
        key: object.key(),
        object,
        fingerprint,
        generation,
        line: place.line,
        column: place.column,
    }))
}

fn key_of(value: &Value) -> Option<ObjectKey> {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str);
    let kind = Kind::of(text("/apiVersion")?, text("/kind")?)?;
    Some(ObjectKey::new(kind, text("/metadata/namespace").unwrap_or_default(), text("/metadata/name")?))
}

/// Of everything but metadata and status. A collision costs a count, no more.
fn fingerprint(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (field, value) in value.as_object().into_iter().flatten() {
        if field != "metadata" && field != "status" {
            (field, value).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Where a text may be cut: before every line that begins a document. Such a line stands in no scalar (YAML 1.2.2,
/// production c-forbidden), so that nothing is cut in two.
fn cut(text: &str) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        // A directive or a document's end binds lines together that this cut would part.
        if line.starts_with('%') || line.starts_with("...") || has_anchor(line) {
            starts.truncate(1);
            break;
        }
        let begins = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.starts_with([' ', '\t', '\r', '\n']) || rest.is_empty());
        if begins && at > 0 {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Whether a line may hold an anchor. What anchors expand to is bounded for a whole text, not for each chunk.
fn has_anchor(line: &str) -> bool {
    let bytes = line.as_bytes();
    bytes.iter().enumerate().any(|(at, byte)| {
        let starts = at == 0 || matches!(bytes[at - 1], b' ' | b'\t' | b'[' | b'{' | b',' | b':');
        *byte == b'&' && starts && bytes.get(at + 1).is_some_and(u8::is_ascii_graphic)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        cut(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn a_text_is_cut_before_documents_only() {
        for (text, expected) in [
            ("", vec![""]),
            ("a: 1\n", vec!["a: 1\n"]),
            ("---\na: 1\n---\nb: 2\n", vec!["---\na: 1\n", "---\nb: 2\n"]),
            ("# c\n--- \na: 1\n---\r\nb: 2\n---", vec!["# c\n", "--- \na: 1\n", "---\r\nb: 2\n", "---"]),
            ("a: |\n  ---\n  x\n----\n---x: 1\n", vec!["a: |\n  ---\n  x\n----\n---x: 1\n"]),
            ("%YAML 1.2\n---\na: 1\n---\nb: 2\n", vec!["%YAML 1.2\n---\na: 1\n---\nb: 2\n"]),
            ("a: 1\n...\n---\nb: 2\n", vec!["a: 1\n...\n---\nb: 2\n"]),
            ("a: &x 1\n---\nb: 2\n", vec!["a: &x 1\n---\nb: 2\n"]),
            ("a: x?b=1&c=2\n---\nb: a & b\n", vec!["a: x?b=1&c=2\n", "---\nb: a & b\n"]),
        ] {
            assert_eq!(parts(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_a_chunk_that_changed_is_read_again_wherever_it_stands() {
        let service = |name: &str| {
            format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 1}}]}}\n"
            )
        };
        let none: &Known<'_> = &|_| None;
        let source: SourceName = "x.yaml".into();
        let first = FileRead::default().next(&source, service("a") + &service("b"), none).unwrap();
        let second = first.next(&source, service("c") + &service("b") + &service("a"), none).unwrap();
        assert!(Arc::ptr_eq(&first.chunks[0].said, &second.chunks[2].said));
        assert!(Arc::ptr_eq(&first.chunks[1].said, &second.chunks[1].said));
        assert_eq!(second.chunks[2].lines_before, 10);
        assert_eq!(second.chunks[2].said.objects[0].line, 2);
    }

    #[test]
    fn a_broken_chunk_breaks_the_file_and_its_place_is_one_of_the_file() {
        let none: &Known<'_> = &|_| None;
        let text = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1}]}\n---\nkind: 7\n";
        let findings = FileRead::default().next(&"x.yaml".into(), text.to_owned(), none).unwrap_err();
        assert!(findings.iter().any(|finding| is_fatal(finding) && finding.place.line == 7), "{findings:?}");
    }
}
