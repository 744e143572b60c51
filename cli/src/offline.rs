//! Manifests read and translated once, without a gateway: what `validate`, `translate` and `explain` look at.
//!
//! The same steps as in a running gateway, on the same code, so that they cannot disagree.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use ringway_controller::source::{Directory, Found, Reading, SourceName};
use ringway_gateway_api::manifest::{self, Document};
use ringway_gateway_api::objects::{Object, ObjectKey};
use ringway_gateway_api::validate::{Admitted, Finding, Severity, admit, lint};
use ringway_gateway_api::{Changes, Options, Translation, Translator};
use serde_json::Value;

use crate::args::meant;
use crate::inputs;

/// Manifests and what they come to.
#[derive(Debug)]
pub(crate) struct Offline {
    /// Files that cannot be read, and why.
    pub(crate) unreadable: Vec<(SourceName, String)>,
    /// What is wrong with the objects, by place.
    pub(crate) findings: Vec<Finding>,
    /// How many objects are sound.
    pub(crate) objects: usize,
    /// What they come to.
    pub(crate) translation: Translation,
}

/// How manifests are understood here. Which addresses this machine has does not matter to what they mean.
pub(crate) fn options(allow_external_name: bool) -> Options {
    Options { allow_external_name, ..Options::standalone(vec![Ipv4Addr::LOCALHOST.into()]) }
}

impl Offline {
    /// Reads, checks and translates manifests as one world.
    pub(crate) fn read(files: &[PathBuf], options: Options) -> anyhow::Result<Self> {
        let inputs: Vec<meant::Input> = files.iter().map(|file| meant::input(file)).collect();
        let mut found = Directory::new(inputs::roots(&inputs)?).scan(None);
        found.sort_by(|a, b| a.source.cmp(&b.source));
        Ok(Self::of(found, options))
    }

    fn of(found: Vec<Found>, options: Options) -> Self {
        let mut unreadable = Vec::new();
        let mut findings = Vec::new();
        let mut documents: Vec<Document> = Vec::new();
        for Found { source, reading } in found {
            match reading {
                Reading::Text(text) => {
                    let (parsed, errors) = manifest::parse(Arc::clone(&source), &text);
                    documents.extend(parsed);
                    findings.extend(errors.into_iter().map(Finding::from));
                }
                Reading::Unreadable(reason) => unreadable.push((source, reason)),
                Reading::Gone => {}
            }
        }
        let Admitted { documents, findings: more } = admit(documents);
        findings.extend(more);
        let mut objects = Vec::new();
        for document in &documents {
            match Object::decode(document.value.clone()) {
                Ok(object) => objects.extend(object),
                Err(error) => {
                    findings.push(Finding::from(document.fault(String::new(), error.to_string())));
                }
            }
        }
        let count = objects.len();
        let mut translator = Translator::new(options);
        translator.apply(Changes::all(objects));
        let translation = translator.translation();
        let statuses: BTreeMap<ObjectKey, Value> = translation
            .statuses
            .iter()
            .filter_map(|(key, status)| Some((key.clone(), serde_json::to_value(&**status).ok()?)))
            .collect();
        let remarks = translation.notices.iter().map(|notice| (&notice.object, &*notice.message));
        findings.extend(lint(&documents, &statuses, remarks));
        findings.sort_by(|a, b| (&a.place, a.code, &a.field).cmp(&(&b.place, b.code, &b.field)));
        Self { unreadable, findings, objects: count, translation }
    }

    /// How much is wrong: what cannot be read counts as an error.
    pub(crate) fn errors(&self) -> usize {
        self.count(Severity::Error) + self.unreadable.len()
    }

    /// How many findings are this serious.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Everything that does not work, a line each: for those who asked for something else.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let unreadable =
            self.unreadable.iter().map(|(file, why)| format!("{file}: error: cannot be read: {why}"));
        let errors = self.findings.iter().filter(|finding| finding.severity == Severity::Error);
        unreadable.chain(errors.map(ToString::to_string)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use ringway_gateway_api::validate::Code;

    use crate::oneline;

    #[test]
    fn the_examples_are_sound() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let mut seen = 0;
        for entry in std::fs::read_dir(examples).unwrap() {
            let offline = Offline::read(&[entry.unwrap().path()], options(false)).unwrap();
            // An example for a cluster holds its backends as well, whose kinds are not for us.
            let mut findings = offline.findings;
            findings.retain(|finding| {
                finding.code != Code::KindSkipped || !finding.place.source.contains("/kubernetes/")
            });
            assert_eq!((offline.unreadable, findings), (vec![], vec![]));
            let config = offline.translation.config;
            assert!(!config.listeners.is_empty() && !config.routes.is_empty() && !config.clusters.is_empty());
            seen += 1;
        }
        assert!(seen >= 2);
    }

    #[test]
    fn what_one_line_stands_for_is_sound_and_does_what_it_says() {
        let forward = |listen: &str, to: &[&str]| {
            let mut forward = oneline::Forward::listening(listen).unwrap();
            forward.to = to.iter().map(|to| oneline::Target::parse(to).unwrap()).collect();
            forward
        };
        let forwards = [
            forward(":8080", &["localhost:3000", "10.0.0.1:80"]),
            forward("[::1]:8443", &["https://example.com", "h2c://[::1]:50051"]),
            forward("localhost:9000", &["https://10.0.0.1:8443", "h2c://grpc.example:50051"]),
        ];
        let text = oneline::manifest(&forwards, &[None, None, None]);
        let found = Found { source: "--listen".into(), reading: Reading::Text(text.clone()) };
        let offline = Offline::of(vec![found], options(false));
        assert_eq!(offline.findings, vec![], "{text}");
        let config = offline.translation.config;
        assert_eq!((config.listeners.len(), config.routes.len(), config.clusters.len()), (3, 3, 6), "{text}");
        let binds: Vec<String> = config
            .listeners
            .values()
            .flat_map(|listener| &listener.binds)
            .map(|bind| format!("{:?}:{}", bind.address, bind.port))
            .collect();
        assert_eq!(binds, ["None:8080", "Some(::1):8443", "Some(127.0.0.1):9000", "Some(::1):9000"]);
        let tls = config.clusters.values().filter(|cluster| cluster.tls.is_some()).count();
        assert_eq!(tls, 2, "{text}");
    }
}
