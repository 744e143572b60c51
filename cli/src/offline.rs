//! Manifests read and translated once, without a gateway: what `validate`, `translate` and `explain` look at.
//!
//! The same steps as in a running gateway, on the same code, so that they cannot disagree.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use ringway_controller::source::{Directory, Found, Reading, SourceName};
use ringway_gateway_api::manifest::{self, Document, ObjectName, Place};
use ringway_gateway_api::objects::{Object, ObjectKey};
use ringway_gateway_api::validate::{Admitted, Code, Finding, Severity, admit, lint, shadowed, sort};
use ringway_gateway_api::{Changes, Options, Status, Translation, Translator};
use serde_json::Value;

use crate::args::meant;
use crate::{certificates, inputs};

/// Manifests and what they come to.
#[derive(Debug)]
pub(crate) struct Offline {
    /// What is wrong with files and objects, by place.
    pub(crate) findings: Vec<Finding>,
    /// The objects as they were written, but for those that could not be read.
    pub(crate) documents: Vec<Document>,
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
        let mut found = Directory::new(inputs::roots(&meant::inputs(files)?, None)?).scan(None);
        found.sort_by(|a, b| a.source.cmp(&b.source));
        Ok(Self::of(found, options))
    }

    /// The same for texts that were read.
    pub(crate) fn of(found: Vec<Found>, options: Options) -> Self {
        let mut findings = Vec::new();
        let mut documents: Vec<Document> = Vec::new();
        let mut empty = Vec::new();
        for Found { source, reading } in found {
            match reading {
                Reading::Text(text) => {
                    let (parsed, errors) = manifest::parse(Arc::clone(&source), &text);
                    if parsed.is_empty() && errors.is_empty() {
                        empty.push(source);
                    }
                    documents.extend(parsed);
                    findings.extend(errors.into_iter().map(Finding::from));
                }
                Reading::Unfit(unfit) => findings.push(unfit.finding(&source)),
                Reading::Gone => {}
            }
        }
        // One file without objects among others is no mistake.
        if documents.is_empty() && findings.is_empty() {
            findings.extend(empty.iter().map(without_objects));
        }
        let Admitted { documents, drafts, findings: more } = admit(documents);
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
        let translate = |objects: Vec<Object>| {
            let mut translator = Translator::new(options.clone());
            translator.apply(Changes::all(objects));
            translator
        };
        // What is found is found as if no value hid another; what is served is what is sound.
        let told = match drafts.is_empty() {
            true => find(&documents, &translate(objects.clone())),
            false => {
                let mut all = documents.clone();
                all.extend(drafts.iter().map(|draft| draft.document.clone()));
                let decoded = all.iter().filter_map(|document| Object::decode(document.value.clone()).ok());
                find(&all, &translate(decoded.flatten().collect()))
            }
        };
        findings.extend(told.into_iter().filter(|told| !drafts.iter().any(|draft| draft.hides(told))));
        sort(&mut findings);
        Self { findings, documents, objects: count, translation: translate(objects).translation() }
    }

    /// How much does not work.
    pub(crate) fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many findings are this serious.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Everything that does not work, a line each: for those who asked for something else.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let errors = self.findings.iter().filter(|finding| finding.severity == Severity::Error);
        errors.map(ToString::to_string).collect()
    }
}

/// What translation says of these documents.
fn find(documents: &[Document], translator: &Translator) -> Vec<Finding> {
    let translation = translator.translation();
    let json = |status: &Status| serde_json::to_value(status).ok();
    let statuses: BTreeMap<ObjectKey, Value> =
        translation.statuses.iter().filter_map(|(key, status)| Some((key.clone(), json(status)?))).collect();
    let remarks = translation.notices.iter().map(|notice| (&notice.object, &*notice.message));
    let mut found = lint(documents, &statuses, remarks);
    found.extend(shadowed(documents, translator.world(), translator.config()));
    found.extend(certificates::findings(documents, translator.config(), SystemTime::now()));
    found
}

fn without_objects(source: &SourceName) -> Finding {
    let code = Code::NothingToRead;
    Finding {
        code,
        severity: code.severity(),
        object: ObjectName::default(),
        field: String::new(),
        place: Place { source: Arc::clone(source), line: 1, column: 1 },
        message: "there is no object in this text".to_owned(),
        hint: code.remedy().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::oneline;

    #[test]
    fn the_examples_are_sound() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let mut seen = 0;
        for entry in std::fs::read_dir(examples).unwrap() {
            let offline = Offline::read(&[entry.unwrap().path()], options(false)).unwrap();
            // A Deployment beside the rest is for others, and says so.
            let told = offline.findings.iter().filter(|finding| finding.severity != Severity::Notice);
            assert_eq!(told.collect::<Vec<_>>(), Vec::<&Finding>::new());
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
