//! What stands between double braces in a feature file, in quotes where the file would not be YAML otherwise.
//!
//! | text | becomes |
//! |---|---|
//! | `{{80}}` | a free port, the same for each number |
//! | `{{ca}}` | the certificate of the file's authority, whom clients trust |
//! | `{{stranger}}` | the certificate of another |
//! | `{{cert a.test b.test}}` | a certificate of the file's authority for these names |
//! | `{{key a.test b.test}}` | its key |
//! | `{{backend one}}` | the port of a backend of this name, for what is no Service of one endpoint |
//! | `{{backend one a.test}}` | the same, with TLS and a certificate |

use std::collections::BTreeMap;
use std::sync::Arc;

use ringway_e2e::{Authority, Backend, Identity, Port, free_port};
use serde_json::Value;

use crate::obliging::{Gate, obliging};

/// What a file has been given.
pub(crate) struct Filling {
    pub(crate) authority: Authority,
    stranger: Authority,
    pub(crate) ports: BTreeMap<String, Port>,
    pub(crate) backends: BTreeMap<String, Backend>,
    pub(crate) gate: Arc<Gate>,
    identities: BTreeMap<String, Identity>,
}

impl Filling {
    pub(crate) fn new() -> Self {
        Self {
            authority: Authority::new("authority"),
            stranger: Authority::new("stranger"),
            ports: BTreeMap::new(),
            backends: BTreeMap::new(),
            gate: Arc::default(),
            identities: BTreeMap::new(),
        }
    }

    /// The text with all of it filled in.
    pub(crate) fn fill(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (what, after) = after.split_once("}}").unwrap();
            let quoted = before.ends_with('"') && after.starts_with('"');
            out += if quoted { &before[..before.len() - 1] } else { before };
            out += &self.value(what);
            rest = if quoted { &after[1..] } else { after };
        }
        out + rest
    }

    fn value(&mut self, what: &str) -> String {
        // JSON's strings are YAML's too.
        let text = |text: &str| Value::from(text).to_string();
        match what.split_once(' ') {
            None if what == "ca" => text(&self.authority.pem),
            None if what == "stranger" => text(&self.stranger.pem),
            None => self.ports.entry(what.to_owned()).or_insert_with(free_port).number().to_string(),
            Some(("cert", names)) => text(&self.identity(names).cert),
            Some(("key", names)) => text(&self.identity(names).key),
            Some(("backend", backend)) => {
                let (name, names) = backend.split_once(' ').map_or((backend, None), |(a, b)| (a, Some(b)));
                let identity = names.map(|names| self.identity(names).clone());
                let gate = Arc::clone(&self.gate);
                let started = self.backends.entry(name.to_owned());
                started.or_insert_with(|| obliging(name, identity.as_ref(), &gate)).address.port().to_string()
            }
            Some(_) => panic!("{what} is nothing to fill in"),
        }
    }

    /// A certificate for names with blanks between.
    pub(crate) fn identity(&mut self, names: &str) -> &Identity {
        let sign = || self.authority.sign(&names.split(' ').collect::<Vec<_>>());
        self.identities.entry(names.to_owned()).or_insert_with(sign)
    }
}
