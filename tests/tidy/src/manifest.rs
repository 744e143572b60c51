//! As much of a `Cargo.toml` as the checks need: its sections and the keys in them.
//!
//! One line, one key: that is how manifests are written here, so reading them takes no parser of TOML.

/// The sections of a manifest, in their order.
pub struct Manifest {
    sections: Vec<(String, Vec<(String, String)>)>,
}

impl Manifest {
    /// Reads a manifest's text.
    pub fn read(text: &str) -> Self {
        let mut sections = vec![(String::new(), Vec::new())];
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                sections.push((name.trim_matches(['[', ']']).to_owned(), Vec::new()));
            } else if let Some((key, value)) = line.split_once('=') {
                let (_, keys) = sections.last_mut().expect("there is a section before the first");
                keys.push((key.trim().to_owned(), value.trim().to_owned()));
            }
        }
        Self { sections }
    }

    /// The keys of every section of that name.
    pub fn section(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        let sections = self.sections.iter().filter(move |(section, _)| section == name);
        sections.flat_map(|(_, keys)| keys).map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Every dependency of a member with what its line says after the name, of any kind and target.
    pub fn dependencies(&self) -> impl Iterator<Item = Dependency<'_>> {
        self.sections.iter().filter(|(section, _)| section.ends_with("dependencies")).flat_map(
            |(section, keys)| {
                let shipped = !section.ends_with("dev-dependencies");
                keys.iter().map(move |(key, value)| {
                    let (name, rest) = key.split_once('.').unwrap_or((key, ""));
                    Dependency {
                        name,
                        inherited: rest == "workspace" || value.contains("workspace"),
                        shipped,
                    }
                })
            },
        )
    }
}

/// One line of a `[dependencies]` section.
pub struct Dependency<'m> {
    /// The crate's name as the workspace knows it.
    pub name: &'m str,
    /// Its version is the workspace's.
    pub inherited: bool,
    /// It is part of what is built, not of the tests alone.
    pub shipped: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_by_section_and_key() {
        let manifest = Manifest::read(concat!(
            "[package]\nname = \"a\"\n",
            "[dependencies]\n# why\nbytes.workspace = true\nhttp = \"1\"\n",
            "[dev-dependencies]\nproptest = { workspace = true }\n",
        ));
        let read: Vec<_> = manifest.dependencies().map(|d| (d.name, d.inherited, d.shipped)).collect();
        assert_eq!(read, [("bytes", true, true), ("http", false, true), ("proptest", true, false)]);
        assert_eq!(manifest.section("package").collect::<Vec<_>>(), [("name", "\"a\"")]);
    }
}
