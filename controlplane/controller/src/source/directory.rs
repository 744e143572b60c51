//! Reads the files and directories that the user named, and finds what changed since it last looked.
//!
//! A directory counts with the manifests directly in it, symbolic links followed (ConfigMap mounts are made of them).
//! What cannot be read is said and never taken for empty: whoever uses it keeps what the file last said. Every file,
//! and the number of files, is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use ringway_gateway_api::manifest::SourceName;

use super::inotify::{Watcher, is_manifest, watch_path};
use super::unfit::Unfit;

/// The longest file that is read: what the parser takes at most.
pub const FILE_BYTES_MAX: u64 = ringway_gateway_api::manifest::TEXT_BYTES_MAX as u64;
/// The most files; further ones are not read, and that is said.
pub const FILES_MAX: usize = 10_000;

/// How long after its last modification a file may be modified again under the same time stamp. The kernel's clock for
/// files ticks every 1 to 10 ms; some file systems count in whole seconds, but those see no two saves in one.
const TIMESTAMP_GRAIN: Duration = Duration::from_millis(50);

/// Something that the user named.
#[derive(Clone, Debug)]
pub enum Root {
    /// A file or a directory; which, is looked up each time.
    Path(PathBuf),
    /// Standard input: read once, then fixed.
    Text(SourceName, String),
    /// A text made in memory, of files that may change.
    Made(Arc<dyn Made>),
}

/// A manifest that stands in no file, such as what flags stand for.
pub trait Made: fmt::Debug + Send + Sync {
    /// Its name, as messages print it.
    fn name(&self) -> SourceName;

    /// The files that it is made of.
    fn files(&self) -> &[PathBuf];

    /// The text, or why there is none now.
    fn text(&self) -> Result<String, String>;
}

/// A file that is not as it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name, as messages print it.
    pub source: SourceName,
    /// What is there now.
    pub reading: Reading,
}

/// What was found where a file is or was.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// Its text.
    Text(String),
    /// It was removed.
    Gone,
    /// It is there and gives no text; why.
    Unfit(Unfit),
}

/// The files of all roots, as they were when last looked at.
#[derive(Debug)]
pub struct Directory {
    roots: Vec<Root>,
    known: BTreeMap<PathBuf, Known>,
    made: BTreeMap<SourceName, Result<String, String>>,
    texts_read: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// Read whole; the stamp that it had, unless it was so fresh that the next save could bear the same.
    Read(Option<Stamp>),
    /// Not read; why.
    Unfit(Unfit),
}

/// What changes when a file does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Directory {
    /// Nothing is read yet.
    pub fn new(roots: Vec<Root>) -> Self {
        Self { roots, known: BTreeMap::new(), made: BTreeMap::new(), texts_read: false }
    }

    /// Whether any root can change.
    pub fn can_change(&self) -> bool {
        self.roots.iter().any(|root| !matches!(root, Root::Text(..)))
    }

    /// Looks at every root and reads what changed. With a watcher, everything looked at is watched first.
    pub fn scan(&mut self, mut watcher: Option<&mut Watcher>) -> Vec<Found> {
        let mut found = Vec::new();
        if !self.texts_read {
            self.texts_read = true;
            found.extend(self.roots.iter().filter_map(|root| match root {
                Root::Text(name, text) => {
                    Some(Found { source: Arc::clone(name), reading: Reading::Text(text.clone()) })
                }
                Root::Path(_) | Root::Made(_) => None,
            }));
        }
        if let Some(watcher) = watcher.as_deref_mut() {
            watcher.begin();
        }
        let mut present = BTreeSet::new();
        for root in self.roots.clone() {
            match root {
                Root::Path(root) => self.scan_root(&root, watcher.as_deref_mut(), &mut present, &mut found),
                Root::Made(made) => self.make(&*made, watcher.as_deref_mut(), &mut found),
                Root::Text(..) => {}
            }
        }
        if let Some(watcher) = watcher {
            watcher.finish();
        }
        let gone: Vec<PathBuf> = self.known.keys().filter(|path| !present.contains(*path)).cloned().collect();
        for path in gone {
            self.known.remove(&path);
            found.push(Found { source: source_name(&path), reading: Reading::Gone });
        }
        found
    }

    fn scan_root(
        &mut self,
        root: &Path,
        mut watcher: Option<&mut Watcher>,
        present: &mut BTreeSet<PathBuf>,
        found: &mut Vec<Found>,
    ) {
        if let Some(watcher) = watcher.as_deref_mut()
            && let Ok(absolute) = std::path::absolute(root)
        {
            watch_path(watcher, &absolute);
        }
        match std::fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {
                if let Some(watcher) = watcher.as_deref_mut() {
                    watcher.manifests(root);
                }
                // What the directory held stays in force if it cannot be listed.
                let listed = match manifests_in(root) {
                    Ok(listed) => listed,
                    Err(error) => return self.keep(root, &error.to_string(), present, found),
                };
                if listed.is_empty() {
                    present.insert(root.to_owned());
                    self.note_unfit(root.to_owned(), Unfit::empty(root), found);
                }
                for path in listed {
                    let link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
                    if let Some(watcher) = watcher.as_deref_mut()
                        && link
                        && let Ok(absolute) = std::path::absolute(&path)
                    {
                        watch_path(watcher, &absolute);
                    }
                    self.read(path, present, found);
                }
            }
            Ok(_) => self.read(root.to_owned(), present, found),
            Err(error) => self.keep(root, &error.to_string(), present, found),
        }
    }

    /// Makes a text anew, since the files that it is made of are few and small.
    fn make(&mut self, made: &dyn Made, watcher: Option<&mut Watcher>, found: &mut Vec<Found>) {
        if let Some(watcher) = watcher {
            let paths = made.files().iter().filter_map(|path| std::path::absolute(path).ok());
            paths.for_each(|path| watch_path(watcher, &path));
        }
        let (name, text) = (made.name(), made.text());
        if self.made.get(&name) == Some(&text) {
            return;
        }
        self.made.insert(Arc::clone(&name), text.clone());
        let reading = text.map_or_else(|reason| Reading::Unfit(Unfit::unreadable(&reason)), Reading::Text);
        found.push(Found { source: name, reading });
    }

    fn read(&mut self, path: PathBuf, present: &mut BTreeSet<PathBuf>, found: &mut Vec<Found>) {
        if present.contains(&path) {
            return;
        }
        let too_many = present.len() >= FILES_MAX;
        present.insert(path.clone());
        if too_many {
            let reason = format!("not read: there are more than {FILES_MAX} files");
            return self.note_unfit(path, Unfit::unreadable(&reason), found);
        }
        let before = self.known.get(&path);
        match read_if_changed(&path, before) {
            Ok(None) => {}
            Ok(Some((text, stamp))) => {
                found.push(Found { source: source_name(&path), reading: Reading::Text(text) });
                self.known.insert(path, Known::Read(stamp));
            }
            Err(unfit) => self.note_unfit(path, unfit, found),
        }
    }

    /// A root that is not there, or cannot be listed: all that it held stays as it was.
    fn keep(&mut self, root: &Path, reason: &str, present: &mut BTreeSet<PathBuf>, found: &mut Vec<Found>) {
        let held = self.known.keys().filter(|path| path.parent() == Some(root)).cloned();
        present.extend(held);
        present.insert(root.to_owned());
        self.note_unfit(root.to_owned(), Unfit::unreadable(reason), found);
    }

    fn note_unfit(&mut self, path: PathBuf, unfit: Unfit, found: &mut Vec<Found>) {
        let known = Known::Unfit(unfit.clone());
        if self.known.get(&path) == Some(&known) {
            return;
        }
        found.push(Found { source: source_name(&path), reading: Reading::Unfit(unfit) });
        self.known.insert(path, known);
    }
}

fn manifests_in(directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        // A dangling link is not skipped: that it cannot be read is worth saying.
        let directory = path.metadata().is_ok_and(|metadata| metadata.is_dir());
        if is_manifest(&entry.file_name()) && !directory {
            paths.insert(path);
        }
    }
    Ok(paths)
}

type Text = (String, Option<Stamp>);

fn read_if_changed(path: &Path, known: Option<&Known>) -> Result<Option<Text>, Unfit> {
    let unreadable = |error: io::Error| Unfit::unreadable(&error.to_string());
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    // Opening a pipe or a device could wait for ever.
    if !metadata.is_file() {
        return Err(Unfit::unreadable("not a regular file"));
    }
    if let Some(Known::Read(Some(stamp))) = known
        && *stamp == Stamp::of(&metadata)
    {
        return Ok(None);
    }
    let file = File::open(path).map_err(unreadable)?;
    // Of the file that was opened: the name may lead to another one by now.
    let metadata = file.metadata().map_err(unreadable)?;
    // One more than it has now, so that its end is found without making room for a second half.
    let expected = metadata.len().min(FILE_BYTES_MAX) as usize + 1;
    let mut bytes = Vec::with_capacity(expected);
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let reason =
            format!("larger than the {FILE_BYTES_MAX} bytes that are read; split it into several files");
        return Err(Unfit::unreadable(&reason));
    }
    let text = Unfit::or_text(bytes)?;
    Ok(Some((text, Stamp::trusted(&metadata, SystemTime::now()))))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// `None` while a second save could bear the same stamp.
    fn trusted(metadata: &Metadata, now: SystemTime) -> Option<Self> {
        let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
        age.is_some_and(|age| age > TIMESTAMP_GRAIN).then(|| Self::of(metadata))
    }
}

fn source_name(path: &Path) -> SourceName {
    path.to_string_lossy().into()
}
