//! YAML text to documents, in one pass over the parser's events, bounded in every direction.
//!
//! The events are read rather than a ready-made tree, because a tree has already forgotten what is refused
//! here (duplicate keys, unknown tags) and has already spent what is bounded here (aliases, depth).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Value};

use super::document::Document;
use super::fault::{ManifestError, Problem};
use super::place::{Mark, Place, Places, SourceName};
use super::scalar;

/// The longest text that is read. 10,000 routes of ordinary size are a third of it.
pub const TEXT_BYTES_MAX: usize = 32 << 20;
/// The deepest nesting. The deepest object of the Gateway API has 16 levels.
pub const DEPTH_MAX: usize = 64;
/// What all anchors and aliases of a text may stand for.
pub const EXPANSION_BYTES_MAX: usize = 4 << 20;
/// The most documents in one text.
pub const DOCUMENTS_MAX: usize = 100_000;
/// The most faults that are listed; the last says that there are more.
pub const ERRORS_MAX: usize = 100;

/// What a node costs beside its text when an alias repeats it.
const NODE_BYTES: usize = 64;

/// Reads all documents of a text. Empty documents are skipped and lists of objects (`kind: List`) are taken
/// apart. What is broken is reported, in the order of the text; what is not is returned.
pub fn parse(source: SourceName, text: &str) -> (Vec<Document>, Vec<ManifestError>) {
    let mut builder = Builder::new(Arc::clone(&source));
    if text.len() > TEXT_BYTES_MAX {
        let problem = Problem::TextTooLong { bytes: text.len(), limit: TEXT_BYTES_MAX };
        builder.fault(builder.at(1, 1), problem);
        return builder.finish();
    }
    let joined = join_surrogates(text);
    let text = joined.as_deref().unwrap_or(text);
    // The parser cannot go on after a syntax error, but the next document may be sound: begin again at its
    // mark.
    let mut rest = text;
    while let Some(error) = builder.read(rest) {
        let line = builder.line(error.marker());
        let place = builder.at(line, error.marker().col() as u32 + 1);
        // Beginning again at the mark that was itself the error finds it a second time.
        let fault = ManifestError { place, problem: Problem::Syntax(error.info().to_owned()) };
        if builder.errors.last() != Some(&fault) {
            builder.fault(fault.place, fault.problem);
        }
        let Some((lines, next)) = next_document(rest, error.marker().line()) else { break };
        builder.lines_before += lines;
        rest = next;
    }
    builder.finish()
}

/// JSON writes characters beyond the basic plane as pairs of escapes, which YAML does not know: puts the
/// characters themselves. Only for JSON, where a pair can stand nowhere but in double quotes; what follows in
/// its line moves left.
fn join_surrogates(text: &str) -> Option<String> {
    let escaped =
        |pair: &[u8]| matches!(pair, [b'\\', b'u', b'd' | b'D', b'8'..=b'9' | b'a' | b'b' | b'A' | b'B']);
    let paired = text.as_bytes().windows(4).any(escaped);
    if !paired || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return None;
    }
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut joined = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        joined.push_str(&rest[..at]);
        rest = &rest[at..];
        let pair = unit(rest).zip(rest.get(6..).and_then(unit));
        let character = pair.and_then(|(high, low)| char::decode_utf16([high, low]).next()?.ok());
        match character.filter(|character| character.len_utf16() == 2) {
            Some(character) => {
                joined.push(character);
                rest = &rest[12..];
            }
            // The backslash and what it escapes, so that an escaped backslash begins no escape.
            None => {
                let escape = rest.chars().take(2).map(char::len_utf8).sum();
                joined.push_str(&rest[..escape]);
                rest = &rest[escape..];
            }
        }
    }
    joined.push_str(rest);
    Some(joined)
}

/// The text from the first `---` at or after `line` (counted from 1), and how many lines come before it. A
/// line that begins so is never content: YAML forbids it even inside block scalars and quotes.
fn next_document(text: &str, line: usize) -> Option<(u32, &str)> {
    let mut start = 0;
    for (number, content) in text.split_inclusive('\n').enumerate() {
        let marks = content.strip_prefix("---").is_some_and(|after| after.trim_start().len() < after.len());
        // The mark itself may be what ended a document too early. At least one line is left behind, so that
        // this ends.
        if marks && number + 1 >= line && number >= 1 {
            return Some((number as u32, &text[start..]));
        }
        start += content.len();
    }
    None
}

struct Builder {
    source: SourceName,
    lines_before: u32,
    names: Names,
    read: Vec<(Value, Vec<Mark>)>,
    count: usize,
    errors: Vec<ManifestError>,
    expansion_left: usize,
    // The document being read.
    stack: Vec<Frame>,
    marks: Vec<Mark>,
    root: Option<Value>,
    anchors: BTreeMap<usize, (Value, Vec<Mark>)>,
    /// It has a fault, so it will not be returned.
    faulty: bool,
    /// Its fault leaves no sense in reading on: skip to its end.
    skip: bool,
}

/// A collection that is not yet closed.
struct Frame {
    mark: usize,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    Mapping { fields: Map<String, Value>, key: Option<Key> },
}

struct Key {
    name: String,
    interned: u32,
    line: u32,
    column: u32,
}

impl Builder {
    fn new(source: SourceName) -> Self {
        Self {
            source,
            lines_before: 0,
            names: Names::default(),
            read: Vec::new(),
            count: 0,
            errors: Vec::new(),
            expansion_left: EXPANSION_BYTES_MAX,
            stack: Vec::new(),
            marks: Vec::new(),
            root: None,
            anchors: BTreeMap::new(),
            faulty: false,
            skip: false,
        }
    }

    /// Reads documents until the end or the first syntax error.
    fn read(&mut self, text: &str) -> Option<ScanError> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    self.begin();
                    return Some(error);
                }
            };
            match event {
                Event::DocumentStart(_) => self.begin(),
                Event::DocumentEnd => {
                    self.end(span);
                    if self.count > DOCUMENTS_MAX {
                        let problem = Problem::TooManyDocuments { limit: DOCUMENTS_MAX };
                        self.fault(self.place(&span.start), problem);
                        return None;
                    }
                }
                _ if self.skip => {}
                event => self.node(event, span),
            }
        }
        None
    }

    fn begin(&mut self) {
        self.stack.clear();
        self.marks.clear();
        self.anchors.clear();
        self.root = None;
        self.faulty = false;
        self.skip = false;
    }

    fn end(&mut self, span: Span) {
        self.count += 1;
        let Some(root) = self.root.take() else { return };
        if self.faulty {
            return;
        }
        let shape = match &root {
            Value::Object(_) => {
                self.read.push((root, self.marks.clone()));
                return;
            }
            Value::Null => return,
            Value::Array(_) => "list",
            _ => "single value",
        };
        let place = match self.marks.first() {
            Some(mark) => self.at(mark.line, mark.column),
            None => self.place(&span.start),
        };
        self.fault(place, Problem::NotAnObject(shape));
    }

    fn node(&mut self, event: Event<'_>, span: Span) {
        let at = span.start;
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.wants_key() {
                    self.key(text, style, &at);
                    return;
                }
                let value = match scalar_value(text, style, tag.as_deref()) {
                    Ok(value) => value,
                    Err(problem) => {
                        self.fault(self.place(&at), problem);
                        Value::Null
                    }
                };
                let mark = self.mark(&at);
                self.close(mark, anchor, value, &at);
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(anchor, tag, "seq", Content::List(Vec::new()), &at);
            }
            Event::MappingStart(anchor, tag) => {
                let content = Content::Mapping { fields: Map::new(), key: None };
                self.open(anchor, tag, "map", content, &at);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else { return };
                let value = match frame.content {
                    Content::List(items) => Value::Array(items),
                    Content::Mapping { fields, .. } => Value::Object(fields),
                };
                self.close(frame.mark, frame.anchor, value, &at);
            }
            Event::Alias(anchor) => self.alias(anchor, &at),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
    }

    fn wants_key(&self) -> bool {
        let top = self.stack.last().map(|frame| &frame.content);
        matches!(top, Some(Content::Mapping { key: None, .. }))
    }

    fn key(&mut self, text: Cow<'_, str>, style: ScalarStyle, at: &Marker) {
        let plain = style == ScalarStyle::Plain;
        let problem = match &*text {
            "<<" if plain => Some(Problem::MergeKey),
            "" | "~" | "null" if plain => Some(Problem::KeyNotScalar),
            _ => None,
        };
        if let Some(problem) = problem {
            self.fault(self.place(at), problem);
        }
        let Place { line, column, .. } = self.place(at);
        let name = text.into_owned();
        let interned = self.names.intern(&name);
        let Some(Frame { mark, content: Content::Mapping { fields, key, .. }, .. }) = self.stack.last_mut()
        else {
            return;
        };
        let twice =
            fields.contains_key(&name).then(|| self.marks[*mark..].iter().find(|m| m.name == interned));
        *key = Some(Key { name: name.clone(), interned, line, column });
        if let Some(first) = twice {
            let first = first.map_or(line, |mark| mark.line);
            self.fault(self.at(line, column), Problem::DuplicateKey { key: name, first });
        }
    }

    fn open(
        &mut self,
        anchor: usize,
        tag: Option<Cow<'_, Tag>>,
        shape: &'static str,
        content: Content,
        at: &Marker,
    ) {
        let place = self.place(at);
        if self.wants_key() {
            self.fault(place, Problem::KeyNotScalar);
            self.skip = true;
            return;
        }
        if self.stack.len() == DEPTH_MAX {
            self.fault(place, Problem::TooDeep { limit: DEPTH_MAX });
            self.skip = true;
            return;
        }
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == shape)) {
            self.fault(place, Problem::Tag(shown_tag(&tag)));
        }
        let mark = self.mark(at);
        self.stack.push(Frame { mark, anchor, content });
    }

    /// Ends a node: its mark, its anchor, and its place in its parent.
    fn close(&mut self, mark: usize, anchor: usize, value: Value, at: &Marker) {
        self.marks[mark].end = self.marks.len() as u32;
        if anchor != 0 && self.expand(bytes(&value), at) {
            let relative = |copy: &Mark| Mark { end: copy.end - mark as u32, ..*copy };
            self.anchors.insert(anchor, (value.clone(), self.marks[mark..].iter().map(relative).collect()));
        }
        self.insert(value);
    }

    fn insert(&mut self, value: Value) {
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(value),
            Some(Content::List(items)) => items.push(value),
            Some(Content::Mapping { fields, key, .. }) => {
                if let Some(key) = key.take() {
                    fields.insert(key.name, value);
                }
            }
        }
    }

    fn alias(&mut self, anchor: usize, at: &Marker) {
        let Some((value, _)) = self.anchors.get(&anchor) else {
            // The parser knows the name, so the node has begun; it has not ended.
            self.fault(self.place(at), Problem::AliasOfItself);
            self.skip = true;
            return;
        };
        let cost = bytes(value);
        if !self.expand(cost, at) {
            return;
        }
        let Some((value, marks)) = self.anchors.get(&anchor).cloned() else { return };
        if self.wants_key() {
            match value {
                Value::String(text) => self.key(Cow::Owned(text), ScalarStyle::DoubleQuoted, at),
                _ => {
                    self.fault(self.place(at), Problem::KeyNotScalar);
                    self.skip = true;
                }
            }
            return;
        }
        if self.stack.len() + depth(&value) > DEPTH_MAX {
            self.fault(self.place(at), Problem::TooDeep { limit: DEPTH_MAX });
            self.skip = true;
            return;
        }
        let mark = self.mark(at);
        // The alias stands where it is written; what it repeats stands where that was written.
        let shifted = |copy: &Mark| Mark { end: copy.end + mark as u32, ..*copy };
        self.marks.extend(marks[1..].iter().map(shifted));
        self.close(mark, 0, value, at);
    }

    /// Takes `cost` from what anchors and aliases may stand for.
    fn expand(&mut self, cost: usize, at: &Marker) -> bool {
        match self.expansion_left.checked_sub(cost) {
            Some(left) => self.expansion_left = left,
            None => {
                self.fault(self.place(at), Problem::ExpandsTooFar { limit: EXPANSION_BYTES_MAX });
                self.skip = true;
            }
        }
        !self.skip
    }

    /// Begins a node's mark. A field stands where its key does.
    fn mark(&mut self, at: &Marker) -> usize {
        let top = self.stack.last().map(|frame| &frame.content);
        let mark = match top {
            Some(Content::Mapping { key: Some(key), .. }) => {
                Mark { name: key.interned, line: key.line, column: key.column, end: 0 }
            }
            _ => {
                let Place { line, column, .. } = self.place(at);
                Mark { name: Mark::NAMELESS, line, column, end: 0 }
            }
        };
        self.marks.push(mark);
        self.marks.len() - 1
    }

    fn fault(&mut self, place: Place, problem: Problem) {
        self.faulty = true;
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(ManifestError { place, problem });
        } else {
            if self.errors.len() == ERRORS_MAX {
                self.errors
                    .push(ManifestError { place, problem: Problem::TooManyFaults { limit: ERRORS_MAX } });
            }
            self.skip = true;
        }
    }

    fn line(&self, marker: &Marker) -> u32 {
        self.lines_before + marker.line() as u32
    }

    fn place(&self, marker: &Marker) -> Place {
        self.at(self.line(marker), marker.col() as u32 + 1)
    }

    fn at(&self, line: u32, column: u32) -> Place {
        Place { source: Arc::clone(&self.source), line, column }
    }

    fn finish(self) -> (Vec<Document>, Vec<ManifestError>) {
        let names = self.names.list.into();
        let mut documents = Vec::with_capacity(self.read.len());
        for (value, marks) in self.read {
            let places = Places::new(Arc::clone(&names), marks.into());
            flatten(Document { source: Arc::clone(&self.source), value, places }, &mut documents);
        }
        (documents, self.errors)
    }
}

/// The objects of a document: itself, or the items of a list, which take their kind from it if they state
/// none.
fn flatten(document: Document, into: &mut Vec<Document>) {
    let mut pending = vec![document];
    while let Some(mut document) = pending.pop() {
        let kind = document.value.get("kind").and_then(Value::as_str);
        let item_kind = kind.and_then(|kind| kind.strip_suffix("List")).map(str::to_owned);
        let items = document.value.get_mut("items").filter(|items| items.is_array()).map(Value::take);
        let (Some(item_kind), Some(Value::Array(items))) = (item_kind, items) else {
            into.push(document);
            continue;
        };
        let version = document.value.get("apiVersion").cloned();
        let inner = items.into_iter().enumerate().map(|(index, mut value)| {
            if let (false, Some(fields)) = (item_kind.is_empty(), value.as_object_mut()) {
                fields.entry("kind").or_insert_with(|| Value::from(&*item_kind));
                fields.entry("apiVersion").or_insert_with(|| version.clone().unwrap_or_default());
            }
            let places = document.places.within(&format!("items[{index}]"));
            Document { source: Arc::clone(&document.source), value, places }
        });
        pending.extend(inner.rev().collect::<Vec<_>>());
    }
}

fn scalar_value(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Problem> {
    let Some(tag) = tag else {
        if style != ScalarStyle::Plain {
            return Ok(Value::String(text.into_owned()));
        }
        return scalar::resolve(&text).ok_or_else(|| Problem::NoSuchNumber(text.into_owned()));
    };
    if !tag.is_yaml_core_schema() {
        return Err(Problem::Tag(shown_tag(tag)));
    }
    if tag.suffix == "str" {
        return Ok(Value::String(text.into_owned()));
    }
    let value = scalar::resolve(&text);
    let fits: fn(&Value) -> bool = match tag.suffix.as_str() {
        "null" => Value::is_null,
        "bool" => Value::is_boolean,
        "int" => |value| value.is_i64() || value.is_u64(),
        "float" => Value::is_number,
        _ => return Err(Problem::Tag(shown_tag(tag))),
    };
    value.filter(fits).ok_or_else(|| Problem::TagMismatch { text: text.into_owned(), tag: shown_tag(tag) })
}

fn shown_tag(tag: &Tag) -> String {
    if tag.is_yaml_core_schema() {
        format!("!!{}", tag.suffix)
    } else {
        format!("{}{}", tag.handle, tag.suffix)
    }
}

/// What repeating a value costs. Not recursive beyond `DEPTH_MAX`, which holds for every value that is built
/// here.
fn bytes(value: &Value) -> usize {
    NODE_BYTES
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(bytes).sum(),
            Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + bytes(value)).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The field names of a text, each once.
#[derive(Default)]
struct Names {
    list: Vec<Box<str>>,
    index: BTreeMap<Box<str>, u32>,
}

impl Names {
    fn intern(&mut self, name: &str) -> u32 {
        if let Some(index) = self.index.get(name) {
            return *index;
        }
        let index = self.list.len() as u32;
        self.list.push(name.into());
        self.index.insert(name.into(), index);
        index
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> (Vec<Document>, Vec<String>) {
        let (documents, errors) = parse("in.yaml".into(), text);
        (documents, errors.iter().map(ToString::to_string).collect())
    }

    fn values(text: &str) -> Vec<Value> {
        let (documents, errors) = read(text);
        assert_eq!(errors, Vec::<String>::new(), "{text}");
        documents.into_iter().map(|document| document.value).collect()
    }

    fn errors(text: &str) -> Vec<String> {
        read(text).1
    }

    const ROUTE: &str = "\
# A route.
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: web
  labels:
    app.kubernetes.io/name: web
    app: x
spec:
  rules:
  - matches:
    - path: {type: Exact, value: /a}
    - path:
        value: /b
    backendRefs:
    - name: web
      port: 80
";

    #[test]
    fn every_field_has_its_place_and_a_missing_one_has_its_nearest_ancestors() {
        let (documents, _) = read(ROUTE);
        let places = &documents[0];
        for (path, expected) in [
            ("", "2:1"),
            (".", "2:1"),
            ("kind", "3:1"),
            ("metadata.name", "5:3"),
            ("metadata.labels.app", "8:5"),
            ("metadata.labels.app.kubernetes.io/name", "7:5"),
            ("metadata.labels[\"app.kubernetes.io/name\"]", "7:5"),
            ("spec.rules", "10:3"),
            ("spec.rules[0]", "11:5"),
            ("spec.rules[0].matches[0].path.value", "12:27"),
            ("spec.rules[0].matches[1].path.value", "14:9"),
            ("spec.rules[0].matches[1].path.type", "13:7"),
            ("spec.rules[0].backendRefs[0].port", "17:7"),
            ("spec.rules[0].backendRefs[3].port", "15:5"),
            ("spec.rules[9].matches", "10:3"),
            ("spec.hostnames[0]", "9:1"),
            ("nonsense]][", "2:1"),
        ] {
            assert_eq!(places.place(path).to_string(), format!("in.yaml:{expected}"), "{path}");
        }
        assert!(places.places.holds("spec.rules[0].matches[1].path"));
        assert!(!places.places.holds("spec.rules[0].matches[1].path.type"));
    }

    #[test]
    fn a_value_that_does_not_decode_is_an_error_with_object_field_and_place() {
        let text = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: x, namespace: ns}
spec:
  rules:
  - backendRefs:
    - {name: a, port: 80}
    - {name: a, port: '80'}
---
apiVersion: v1
metadata: {name: x}
---
apiVersion: v1
kind: Service
---
apiVersion: v1
kind: Pod
";
        let (documents, _) = read(text);
        let shown = |index: usize| documents[index].object().unwrap_err().to_string();
        for (index, expected) in [
            (0, "in.yaml:8:17: HTTPRoute/ns/x: spec.rules[0].backendRefs[1].port: invalid type: string"),
            (1, "in.yaml:10:1: ?/x: kind: missing"),
            (2, "in.yaml:13:1: Service/?: metadata.name: missing"),
        ] {
            assert!(shown(index).starts_with(expected), "{}", shown(index));
        }
        assert_eq!(documents[3].object(), Ok(None));
    }

    #[test]
    fn empty_documents_are_skipped_and_lists_are_taken_apart() {
        let text = "---\n# nothing\n---\nkind: A\n---\n---\nkind: List\nitems:\n- kind: B\n- kind: List\n  items:\n  - kind: C\n...\n";
        assert_eq!(values(text), [json!({"kind": "A"}), json!({"kind": "B"}), json!({"kind": "C"})]);
        let (documents, _) = read(text);
        assert_eq!(documents[2].place("kind").to_string(), "in.yaml:12:5");
        assert_eq!(
            values("apiVersion: g/v1\nkind: FooList\nitems: [{metadata: {}}]"),
            [json!({"apiVersion": "g/v1", "kind": "Foo", "metadata": {}})]
        );
    }

    #[test]
    fn quoted_scalars_stay_strings_and_plain_ones_follow_the_core_schema() {
        assert_eq!(
            values(
                "a: '80'\nb: \"true\"\nc: 80\nd: yes\ne:\nf: !!str 80\ng: |\n  80\nh: !!int '7'\n80: x\ntrue: y\n"
            ),
            [json!({"a": "80", "b": "true", "c": 80, "d": "yes", "e": null, "f": "80", "g": "80\n", "h": 7,
                "80": "x", "true": "y"})]
        );
    }

    #[test]
    fn json_is_read_as_well() {
        let text = "{\n\t\"kind\": \"A\",\n\t\"list\": [1, -2.5, true, null, \"a\\/b\\u00e9\\n\"]\n}\n";
        assert_eq!(values(text), [json!({"kind": "A", "list": [1, -2.5, true, null, "a/b\u{e9}\n"]})]);
        assert_eq!(read(text).0[0].place("list[1]").to_string(), "in.yaml:3:14");
    }

    #[test]
    fn json_writes_characters_beyond_the_basic_plane_as_pairs() {
        assert_eq!(
            values("{\"a\": \"\\ud83d\\ude00 \\\\ud83d\\\\ude00 \\u00e9\"}"),
            [json!({"a": "\u{1f600} \\ud83d\\ude00 \u{e9}"})]
        );
        // In YAML the same letters are nothing special outside double quotes.
        assert_eq!(values("a: \\ud83d\\ude00"), [json!({"a": "\\ud83d\\ude00"})]);
    }

    #[test]
    fn an_alias_repeats_its_anchor_and_keeps_the_places_of_the_original() {
        let text = "a: &x {p: [1, 2]}\nb: *x\nc: [*x]\n";
        let (documents, _) = read(text);
        let part = json!({"p": [1, 2]});
        assert_eq!(documents[0].value, json!({"a": part, "b": part, "c": [part]}));
        assert_eq!(documents[0].place("b").to_string(), "in.yaml:2:1");
        assert_eq!(documents[0].place("b.p[1]").to_string(), "in.yaml:1:15");
        assert_eq!(documents[0].place("c[0].p").to_string(), "in.yaml:1:8");
        assert_eq!(values("a: &k key\n*k : v\n"), [json!({"a": "key", "key": "v"})]);
    }

    #[test]
    fn a_broken_document_costs_itself_only() {
        let text = "kind: A\n---\nkind: [B\n---\nkind: C\n---\nkind: D\nkind: D\n---\nkind: E\n";
        let (documents, errors) = read(text);
        let kinds: Vec<_> = documents.iter().map(|document| document.value["kind"].clone()).collect();
        assert_eq!(kinds, ["A", "C", "E"]);
        assert_eq!(documents[1].place("kind").to_string(), "in.yaml:5:1");
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with("in.yaml:4:1: not valid YAML"), "{errors:?}");
        assert_eq!(errors[1], "in.yaml:8:1: the key `kind` appears twice, first on line 7; remove one");
    }

    #[test]
    fn what_json_cannot_say_is_refused_where_it_stands() {
        for (text, expected) in [
            ("a: 1\na: 2", "in.yaml:2:1: the key `a` appears twice, first on line 1"),
            ("a:\n  b: 1\n  'b': 2", "in.yaml:3:3: the key `b` appears twice, first on line 2"),
            ("{\"a\": 1, \"a\": 2}", "in.yaml:1:10: the key `a` appears twice"),
            ("? [x]\n: y", "in.yaml:1:3: a key must be a word"),
            ("~: y", "in.yaml:1:1: a key must be a word"),
            ("a: &x {}\n? *x\n: y", "in.yaml:2:3: a key must be a word"),
            ("a: &x {b: 1}\nc:\n  <<: *x", "in.yaml:3:3: merge keys"),
            ("a: !!binary aGk=", "in.yaml:1:4: the tag `!!binary`"),
            ("a: !own {}", "in.yaml:1:4: the tag `!own`"),
            ("a: !!int x", "in.yaml:1:4: `x` is not a value of type `!!int`"),
            ("a: .inf", "in.yaml:1:4: `.inf` cannot be held as a number"),
            ("a: &x [*x]", "in.yaml:1:8: the alias stands inside the value"),
            ("a: *x", "in.yaml:1:4: not valid YAML"),
            ("- a\n- b", "in.yaml:1:1: this document is a list"),
            ("just words", "in.yaml:1:1: this document is a single value"),
            ("a: 1\n--- ]\n", "in.yaml:2:5: not valid YAML"),
            ("a: b: c", "in.yaml:1:5: not valid YAML"),
            ("a:\n\t- b", "in.yaml:2:"),
        ] {
            let errors = errors(text);
            assert!(errors.len() == 1 && errors[0].starts_with(expected), "{text:?}: {errors:?}");
        }
    }

    #[test]
    fn laughter_depth_and_size_are_bounded() {
        let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..12 {
            let repeated = vec![format!("*a{}", level - 1); 10].join(", ");
            laughs += &format!("a{level}: &a{level} [{repeated}]\n");
        }
        let deep = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
        let long_twice = format!("a: &a {}\nb: [*a, *a]", "x".repeat(EXPANSION_BYTES_MAX / 2));
        let alias_deep =
            format!("a: &a {}\nb: [[*a]]", "[".repeat(DEPTH_MAX - 2) + &"]".repeat(DEPTH_MAX - 2));
        for (text, expected) in [
            (laughs, "expand to more than"),
            (format!("a: {deep}"), "nested deeper than 64"),
            (alias_deep, "nested deeper than 64"),
            (long_twice, "expand to more than"),
            (" ".repeat(TEXT_BYTES_MAX + 1), "the text has"),
            ("--- 1\n".repeat(ERRORS_MAX * 3), "is a single value"),
            ("---\n".repeat(DOCUMENTS_MAX + 1), "more than 100000 documents"),
        ] {
            let errors = errors(&text);
            assert!(errors.first().is_some_and(|error| error.contains(expected)), "{expected}: {errors:?}");
            assert!(errors.len() <= ERRORS_MAX + 1);
        }
    }
}
