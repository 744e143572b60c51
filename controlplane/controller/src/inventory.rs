//! What all files say together, file by file: the objects in force and what is wrong with the rest.
//!
//! Pure. A file counts as a whole: one that is broken or cannot be read goes on saying what it last said. Which object
//! wins never depends on history, only on the files: an object that states no age is as old as any other, so that
//! `translate` and `explain` agree with a proxy that has been running for a year.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ringway_config::pack;
use ringway_gateway_api::manifest::{Place, SourceName};
use ringway_gateway_api::objects::{Object, ObjectKey};
use ringway_gateway_api::validate::{Code, Finding, Severity};
use ringway_gateway_api::world::Changes;
use serde::Serialize;

use crate::chunk::{FileRead, ReadObject, Said, is_fatal};
use crate::source::{Found, Reading};

/// The most problems that are told; the count says how many there are.
pub const PROBLEMS_MAX: usize = 1_000;

/// The objects of all files.
#[derive(Debug, Default)]
pub struct Inventory {
    files: BTreeMap<SourceName, File>,
    /// What is odd about a root that is no file.
    remarks: BTreeMap<SourceName, Problem>,
    definers: BTreeMap<ObjectKey, Definers>,
    rejections: u64,
}

/// A file as it last counted, and what is wrong with it now.
#[derive(Debug, Default)]
struct File {
    read: FileRead,
    entries: BTreeMap<ObjectKey, Entry>,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Entry {
    object: Object,
    line: u32,
    column: u32,
}

/// Which files define an object, which definition is in force, and how often its specification has changed.
#[derive(Debug)]
struct Definers {
    /// Sorted, each once; nearly always one.
    sources: Vec<SourceName>,
    in_force: Option<Object>,
    fingerprint: u64,
    generation: i64,
}

/// Something that is wrong with a file, or left out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file.
    pub file: SourceName,
    /// The line, from 1, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The code of `docs/validation-codes.md`, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What it means for the configuration.
    pub effect: Effect,
    /// What is wrong: the object, the field, what to do.
    pub message: String,
}

/// What a problem means for the configuration in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Effect {
    /// The whole file does not count: what it last said stays in force.
    FileKept,
    /// The whole file does not count, and never said anything: it is as good as empty.
    FileEmpty,
    /// One object does not count: another definition of it is in force.
    ObjectIgnored,
    /// It counts, but probably does not do what is meant.
    Warned,
    /// None; an object of a kind that is not read, for example.
    Noted,
}

impl Effect {
    /// Whether the whole file does not count as it is.
    pub fn costs_the_file(self) -> bool {
        matches!(self, Self::FileKept | Self::FileEmpty)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.code {
            Some(code) => write!(f, " [{code}]"),
            None => Ok(()),
        }
    }
}

impl Inventory {
    /// Takes in what was found. The objects in force change all at once or, for a broken file, not at all.
    pub fn take(&mut self, found: Vec<Found>) -> Changes {
        let mut touched = BTreeSet::new();
        for Found { source, reading } in found {
            self.take_file(source, reading, &mut touched);
        }
        if 4 * touched.len() > self.definers.len() {
            pack(&mut self.definers);
        }
        let mut changed = Changes::default();
        for key in touched {
            let winner = self.winner(&key);
            let Some(definers) = self.definers.get_mut(&key) else { continue };
            match winner {
                Some(object) if definers.in_force.as_ref() == Some(&object) => {}
                Some(object) => {
                    definers.in_force = Some(object.clone());
                    changed.upserts.push(object);
                }
                None => {
                    let was_there = definers.in_force.is_some();
                    self.definers.remove(&key);
                    if was_there {
                        changed.deletes.push(key);
                    }
                }
            }
        }
        changed
    }

    /// Everything that is wrong, file by file; at most [`PROBLEMS_MAX`].
    pub fn problems(&self) -> Vec<Problem> {
        let own = self.files.values().flat_map(|file| file.problems.iter().cloned());
        let own = self.remarks.values().cloned().chain(own);
        own.chain(self.duplicates()).take(PROBLEMS_MAX).collect()
    }

    /// The objects in force, by name.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectKey, &Object)> {
        self.definers.iter().filter_map(|(key, definers)| Some((key, definers.in_force.as_ref()?)))
    }

    /// Where the object in force is written.
    pub fn place(&self, key: &ObjectKey) -> Option<Place> {
        self.place_in(self.definers.get(key)?.sources.first()?, key)
    }

    /// How many files were read.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// How often a file was broken or unreadable.
    pub fn rejections(&self) -> u64 {
        self.rejections
    }

    fn take_file(&mut self, source: SourceName, reading: Reading, touched: &mut BTreeSet<ObjectKey>) {
        self.remarks.remove(&source);
        let text = match reading {
            Reading::Text(text) => text,
            Reading::Unfit(unfit) => {
                let problem = Problem::found(&unfit.finding(&source), 0, self.effect_of_a_fault(&source));
                match problem.effect.costs_the_file() {
                    true => self.reject(source, vec![problem]),
                    // Nothing was lost by it: a directory without manifests.
                    false => drop(self.remarks.insert(source, problem)),
                }
                return;
            }
            Reading::Gone => return self.replace(&source, None, touched),
        };
        let known = |key: &ObjectKey| {
            let definers = self.definers.get(key).filter(|definers| !definers.sources.is_empty())?;
            Some((definers.fingerprint, definers.generation))
        };
        let none = FileRead::default();
        let before = self.files.get(&source).map_or(&none, |file| &file.read);
        match before.next(&source, text, &known) {
            Ok(read) => self.replace(&source, Some(read), touched),
            Err(findings) => {
                let fault = self.effect_of_a_fault(&source);
                let problems = findings.iter().map(|finding| Problem::found(finding, 0, fault)).collect();
                self.reject(source, problems);
            }
        }
    }

    /// A file does not count as it is. One that is still broken in the same way when it is looked at again is no news.
    fn reject(&mut self, source: SourceName, problems: Vec<Problem>) {
        let file = self.files.entry(source).or_default();
        if file.problems != problems {
            file.problems = problems;
            self.rejections += 1;
        }
    }

    /// What it means that this file, or directory, does not count as it is now.
    fn effect_of_a_fault(&self, source: &SourceName) -> Effect {
        let here_or_below = |name: &str| {
            *name == **source || Path::new(name).parent().is_some_and(|above| above == Path::new(&**source))
        };
        let said = |(name, file): (&SourceName, &File)| !file.entries.is_empty() && here_or_below(name);
        if self.files.iter().any(said) { Effect::FileKept } else { Effect::FileEmpty }
    }

    /// Puts what a file says now in the place of what it said. Only what changed is touched.
    fn replace(&mut self, source: &SourceName, read: Option<FileRead>, touched: &mut BTreeSet<ObjectKey>) {
        let old = self.files.remove(source).unwrap_or_default();
        let read = read.unwrap_or_default();
        let kept: HashSet<*const Said> = read.chunks.iter().map(|chunk| Arc::as_ptr(&chunk.said)).collect();
        let were: HashSet<*const Said> =
            old.read.chunks.iter().map(|chunk| Arc::as_ptr(&chunk.said)).collect();

        let mut file = File::default();
        for chunk in &read.chunks {
            let problems = chunk.said.findings.iter();
            file.problems.extend(
                problems.map(|finding| Problem::found(finding, chunk.lines_before, Effect::FileKept)),
            );
            let is_new = !were.contains(&Arc::as_ptr(&chunk.said));
            for it in &chunk.said.objects {
                let line = it.line + chunk.lines_before;
                if let Some(first) = file.entries.get(&it.key) {
                    let place = |line, column| Place { source: Arc::clone(source), line, column };
                    let (second, first) = (place(line, it.column), place(first.line, first.column));
                    file.problems.push(Problem::duplicate(&second, &it.key, &first));
                    touched.insert(it.key.clone());
                    continue;
                }
                if is_new {
                    self.define(it, source);
                    touched.insert(it.key.clone());
                }
                let entry = Entry { object: it.object.clone(), line, column: it.column };
                file.entries.insert(it.key.clone(), entry);
            }
        }
        let gone = old.read.chunks.iter().filter(|chunk| !kept.contains(&Arc::as_ptr(&chunk.said)));
        for it in gone.flat_map(|chunk| &chunk.said.objects) {
            if !file.entries.contains_key(&it.key)
                && let Some(definers) = self.definers.get_mut(&it.key)
            {
                // Without any source it goes when the change is told.
                definers.sources.retain(|known| known != source);
            }
            touched.insert(it.key.clone());
        }
        if 4 * touched.len() > file.entries.len() {
            pack(&mut file.entries);
        }
        if !read.chunks.is_empty() {
            self.files.insert(Arc::clone(source), File { read, ..file });
        }
    }

    fn define(&mut self, it: &ReadObject, source: &SourceName) {
        let (fingerprint, generation) = (it.fingerprint, it.generation);
        let definers = self.definers.entry(it.key.clone()).or_insert_with(|| Definers {
            sources: Vec::new(),
            in_force: None,
            fingerprint,
            generation,
        });
        (definers.fingerprint, definers.generation) = (fingerprint, generation);
        if let Err(place) = definers.sources.binary_search(source) {
            // One at a time: a second definition is a mistake, and the room for it would be there thousands of times.
            definers.sources.reserve_exact(1);
            definers.sources.insert(place, Arc::clone(source));
        }
    }

    fn place_in(&self, source: &SourceName, key: &ObjectKey) -> Option<Place> {
        let entry = self.files.get(source)?.entries.get(key)?;
        Some(Place { source: Arc::clone(source), line: entry.line, column: entry.column })
    }

    /// The definition in force: that of the first file in order.
    fn winner(&self, key: &ObjectKey) -> Option<Object> {
        let source = self.definers.get(key)?.sources.first()?;
        Some(self.files.get(source)?.entries.get(key)?.object.clone())
    }

    fn duplicates(&self) -> impl Iterator<Item = Problem> {
        let several = self.definers.iter().filter(|(_, definers)| definers.sources.len() > 1);
        several.flat_map(|(key, definers)| {
            let mut places = definers.sources.iter().filter_map(|source| self.place_in(source, key));
            let first = places.next();
            places.filter_map(move |place| Some(Problem::duplicate(&place, key, first.as_ref()?)))
        })
    }
}

impl Problem {
    /// `fault` is the effect of a finding that costs the whole file.
    fn found(finding: &Finding, lines_before: u32, fault: Effect) -> Self {
        let effect = match finding.severity {
            _ if is_fatal(finding) => fault,
            Severity::Error => Effect::ObjectIgnored,
            Severity::Warning => Effect::Warned,
            Severity::Notice => Effect::Noted,
        };
        let mut message = String::new();
        let parts = [finding.object.to_string(), finding.field.clone()];
        let known = |part: &String| !part.is_empty() && !part.starts_with("?/?");
        for part in parts.iter().filter(|part| known(part)) {
            message.push_str(part);
            message.push_str(": ");
        }
        message.push_str(&finding.message);
        message.push_str("; ");
        message.push_str(&finding.hint);
        let place = Place { line: finding.place.line + lines_before, ..finding.place.clone() };
        Self::at(&place, effect, Some(finding.code), message)
    }

    fn duplicate(place: &Place, key: &ObjectKey, first: &Place) -> Self {
        let message =
            format!("{key} is defined before, at {first}, and that definition is in force; remove one");
        Self::at(place, Effect::ObjectIgnored, Some(Code::DuplicateObject), message)
    }

    fn at(place: &Place, effect: Effect, code: Option<Code>, message: String) -> Self {
        Self {
            file: Arc::clone(&place.source),
            line: Some(place.line),
            column: Some(place.column),
            code: code.map(|code| code.to_string()),
            effect,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use ringway_gateway_api::objects::Kind;

    use super::*;
    use crate::source::Unfit;

    fn text(source: &str, text: &str) -> Found {
        Found { source: source.into(), reading: Reading::Text(text.to_owned()) }
    }

    fn service(name: &str, port: u16) -> String {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: {port}\n"
        )
    }

    fn names(changed: &Changes) -> (Vec<String>, Vec<String>) {
        (
            changed.upserts.iter().map(|object| object.key().to_string()).collect(),
            changed.deletes.iter().map(ToString::to_string).collect(),
        )
    }

    fn generation(inventory: &Inventory, name: &str) -> Option<i64> {
        let key = ObjectKey::new(Kind::Service, "default", name);
        inventory.objects().find(|(known, _)| **known == key)?.1.metadata().generation
    }

    #[test]
    fn only_what_changed_is_told_and_the_generation_counts_changes_of_the_specification() {
        let mut inventory = Inventory::default();
        let both = format!("{}{}", service("a", 1), service("b", 1));
        let changed = inventory.take(vec![text("x.yaml", &both)]);
        assert_eq!(names(&changed).0, ["Service/default/a", "Service/default/b"]);
        assert_eq!(generation(&inventory, "a"), Some(1));

        let moved = format!("{}{}", service("b", 1), service("a", 2));
        let changed = inventory.take(vec![text("x.yaml", &moved)]);
        assert_eq!(names(&changed), (vec!["Service/default/a".to_owned()], vec![]));
        assert_eq!((generation(&inventory, "a"), generation(&inventory, "b")), (Some(2), Some(1)));

        let changed = inventory.take(vec![text("x.yaml", &service("b", 1))]);
        assert_eq!(names(&changed), (vec![], vec!["Service/default/a".to_owned()]));
        assert_eq!(inventory.take(vec![text("x.yaml", &service("b", 1))]), Changes::default());
    }

    #[test]
    fn a_broken_file_keeps_what_it_said_and_names_place_object_and_field() {
        let mut inventory = Inventory::default();
        inventory.take(vec![text("x.yaml", &service("a", 1)), text("y.yaml", &service("b", 1))]);
        for (broken, expected) in [
            (service("a", 1).replace("port: 1", "port: [1"), "x.yaml:"),
            (
                service("c", 1).replace("port: 1", "port: many"),
                "x.yaml:8:5: Service/default/c: spec.ports[0].port: is a string",
            ),
            (service("c", 1).replace("  name: c\n", ""), "x.yaml:4:1: Service/?: metadata.name: is missing"),
            (service("c", 1).replace("kind: Service\n", ""), "x.yaml:2:1: ?/c: kind: `kind` is missing"),
        ] {
            let changed = inventory.take(vec![text("x.yaml", &broken), text("y.yaml", &service("b", 2))]);
            assert!(
                changed.deletes.is_empty() && changed.upserts.iter().all(|object| &*object.key().name == "b")
            );
            let shown: Vec<String> = inventory.problems().iter().map(ToString::to_string).collect();
            assert!(shown[0].starts_with(expected), "{shown:?}");
        }
        let changed = inventory.take(vec![text("x.yaml", &service("c", 1))]);
        assert_eq!(names(&changed), (vec!["Service/default/c".into()], vec!["Service/default/a".into()]));
        assert_eq!(inventory.problems(), []);
    }

    #[test]
    fn an_unreadable_file_keeps_what_it_said_and_a_removed_one_does_not() {
        let mut inventory = Inventory::default();
        inventory.take(vec![text("x.yaml", &service("a", 1))]);
        let unreadable =
            Found { source: "x.yaml".into(), reading: Reading::Unfit(Unfit::unreadable("denied")) };
        assert_eq!(inventory.take(vec![unreadable]), Changes::default());
        assert_eq!(
            inventory.problems()[0].to_string(),
            "x.yaml:1:1: cannot be read: denied; correct its name or its permissions [RW1016]"
        );
        assert_eq!(inventory.problems()[0].effect, Effect::FileKept);
        let gone = Found { source: "x.yaml".into(), reading: Reading::Gone };
        assert_eq!(inventory.take(vec![gone]).deletes.len(), 1);
        assert_eq!((inventory.problems(), inventory.files()), (vec![], 0));
    }

    #[test]
    fn what_never_said_anything_counts_as_empty_and_keeps_nothing() {
        let mut inventory = Inventory::default();
        let broken = |source: &str| text(source, "kind: [");
        let unreadable = |source: &str| Found {
            source: source.into(),
            reading: Reading::Unfit(Unfit::unreadable("denied")),
        };
        let effects = |inventory: &Inventory| -> Vec<(String, Effect)> {
            inventory.problems().iter().map(|problem| (problem.file.to_string(), problem.effect)).collect()
        };
        inventory.take(vec![broken("d/a.yaml"), unreadable("d/b.yaml"), unreadable("e")]);
        let empty = ["d/a.yaml", "d/b.yaml", "e"].map(|file| (file.to_owned(), Effect::FileEmpty));
        assert_eq!(effects(&inventory), empty);

        inventory.take(vec![text("d/a.yaml", &service("a", 1)), text("d/b.yaml", &service("b", 1))]);
        inventory.take(vec![broken("d/a.yaml"), unreadable("d")]);
        let kept = ["d", "d/a.yaml"].map(|file| (file.to_owned(), Effect::FileKept));
        assert_eq!(effects(&inventory)[..2], kept);
        assert_eq!(inventory.rejections(), 5);
        inventory.take(vec![broken("d/a.yaml")]);
        assert_eq!(inventory.rejections(), 5, "the same fault again is no news");

        // One that comes back broken after it was deleted has nothing left to keep.
        inventory.take(vec![Found { source: "d/a.yaml".into(), reading: Reading::Gone }]);
        inventory.take(vec![broken("d/a.yaml")]);
        assert!(effects(&inventory).contains(&("d/a.yaml".to_owned(), Effect::FileEmpty)));
    }

    #[test]
    fn of_two_definitions_the_first_in_order_is_in_force_until_it_goes() {
        let mut inventory = Inventory::default();
        inventory.take(vec![text("b.yaml", &service("s", 2)), text("a.yaml", &service("s", 1))]);
        let shown: Vec<String> = inventory.problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "b.yaml:2:1: Service/default/s is defined before, at a.yaml:2:1, and that definition is in force; remove one [RW1108]"
            ]
        );
        let port = |inventory: &Inventory| {
            let value = serde_json::to_value(inventory.objects().next().map(|(_, object)| object)).unwrap();
            value.pointer("/spec/ports/0/port").unwrap().clone()
        };
        assert_eq!(port(&inventory), 1);
        inventory.take(vec![Found { source: "a.yaml".into(), reading: Reading::Gone }]);
        assert_eq!((port(&inventory), inventory.problems()), (2.into(), vec![]));

        let twice = format!("{}{}", service("t", 1), service("t", 2));
        inventory.take(vec![text("c.yaml", &twice)]);
        assert_eq!(inventory.problems()[0].effect, Effect::ObjectIgnored);
    }

    #[test]
    fn other_kinds_are_skipped_with_a_notice() {
        let mut inventory = Inventory::default();
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n";
        assert_eq!(inventory.take(vec![text("x.yaml", deployment)]), Changes::default());
        assert_eq!(
            inventory.problems()[0].to_string(),
            "x.yaml:1:1: Deployment/d: ringway does not read this kind, so the object is skipped; nothing to do, if it is meant for others [RW1102]"
        );
        assert_eq!(inventory.problems()[0].effect, Effect::Noted);
        let slip = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTPRoute\nmetadata: {name: d}\n";
        inventory.take(vec![text("x.yaml", slip)]);
        assert_eq!(inventory.problems()[0].effect, Effect::Warned, "a route may be lost");
    }

    #[test]
    fn the_objects_in_force_do_not_depend_on_how_the_files_came_to_be() {
        let all = ["a.yaml", "b.yaml", "c.yaml"].map(|file| text(file, &service("s", file.len() as u16)));
        let mut at_once = Inventory::default();
        at_once.take(all.into());
        let mut one_by_one = Inventory::default();
        for file in ["c.yaml", "b.yaml", "a.yaml"] {
            one_by_one.take(vec![text(file, &service("s", 6))]);
        }
        assert!(at_once.objects().eq(one_by_one.objects()));
    }

    /// Any sequence of saves comes to what the last texts say, duplicates included.
    #[test]
    fn saves_in_any_order_come_to_what_reading_from_nothing_gives() {
        // A small linear congruential generator: the same texts every time.
        let mut state = 7_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        let mut inventory = Inventory::default();
        let mut texts: BTreeMap<&str, String> = BTreeMap::new();
        for _ in 0..500 {
            let file = ["a.yaml", "b.yaml", "c.yaml"][draw(3) as usize];
            let services: String =
                (0..draw(6)).map(|_| service(&format!("s{}", draw(5)), 1 + draw(3) as u16)).collect();
            let broken = draw(8) == 0;
            let saved = if broken { services.clone() + "---\nkind: [\n" } else { services.clone() };
            inventory.take(vec![text(file, &saved)]);
            if !broken {
                texts.insert(file, services);
            }

            let mut fresh = Inventory::default();
            fresh.take(texts.iter().map(|(file, services)| text(file, services)).collect());
            let specs = |inventory: &Inventory| -> Vec<_> {
                let objects = inventory.objects();
                objects
                    .map(|(key, object)| (key.clone(), serde_json::to_value(object).unwrap()["spec"].clone()))
                    .collect()
            };
            assert_eq!(specs(&inventory), specs(&fresh));
            let places = |inventory: &Inventory| -> Vec<_> {
                inventory.objects().map(|(key, _)| inventory.place(key)).collect()
            };
            assert_eq!(places(&inventory), places(&fresh));
        }
    }
}
