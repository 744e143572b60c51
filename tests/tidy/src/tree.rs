//! The files of the checkout, by their path from its root.
//!
//! What a build or a fuzzer leaves behind is not part of the tree and is not read.

use std::fs;
use std::path::{Path, PathBuf};

/// What is made, not kept.
const MADE: [&str; 5] = [".git", "target", "corpus", "artifacts", "coverage"];

/// All files of the checkout, sorted.
pub struct Tree {
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// Lists the checkout that this crate stands in.
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().expect("the checkout is there");
        let mut files = Vec::new();
        list(&root, "", &mut files);
        files.sort();
        Self { root, files }
    }

    /// Every file whose name ends so.
    pub fn ending(&self, end: &str) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str).filter(move |file| file.ends_with(end))
    }

    /// Every file below a directory, given without a slash at its end.
    pub fn below(&self, directory: &str) -> impl Iterator<Item = &str> {
        let start = format!("{directory}/");
        self.files.iter().map(String::as_str).filter(move |file| file.starts_with(&start))
    }

    /// Whether there is a file or a directory of that path.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files
            .iter()
            .any(|file| file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// The text of a file that must be there.
    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The lines of every text file, with the place to name when one is wrong. Binary files are passed over.
    pub fn lines(&self) -> impl Iterator<Item = (String, String)> {
        self.files.iter().flat_map(|file| {
            let text = fs::read(self.root.join(file)).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.unwrap_or_default();
            let lines: Vec<_> = text
                .lines()
                .enumerate()
                .map(|(number, line)| (format!("{file}:{}", number + 1), line.to_owned()))
                .collect();
            lines
        })
    }
}

fn list(root: &Path, below: &str, files: &mut Vec<String>) {
    let entries = fs::read_dir(root.join(below)).expect("a directory of the checkout can be read");
    for entry in entries {
        let entry = entry.expect("a directory of the checkout can be read");
        let name = entry.file_name().into_string().expect("names in the checkout are UTF-8");
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if MADE.contains(&name.as_str()) {
            continue;
        }
        if entry.file_type().expect("a file of the checkout has a type").is_dir() {
            list(root, &path, files);
        } else {
            files.push(path);
        }
    }
}
