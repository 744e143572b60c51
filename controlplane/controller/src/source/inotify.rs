//! Asks the kernel to say when a name in a directory changes, and says what it said.
//!
//! Directories are watched, never files: a rename over a file, a new symbolic link and a deletion are all changes of
//! a name. One watch a directory; which names in it matter is decided here, so that a busy neighbour costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::settle::Seen;

/// The most directories that are watched; what lies in further ones is found by the slow rescan.
pub const WATCHES_MAX: usize = 1024;

/// Watches directories for changes of names.
#[derive(Debug)]
pub struct Watcher {
    inotify: OwnedFd,
    // By watch descriptor: a directory that was moved or replaced has another one.
    watches: BTreeMap<i32, Interest>,
    next: BTreeMap<i32, Interest>,
    incomplete: bool,
}

/// A name in a watched directory, to tell it from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangedName(i32, OsString);

/// Which names of a directory matter.
#[derive(Debug, Default)]
struct Interest {
    names: BTreeSet<OsString>,
    manifests: bool,
}

impl Watcher {
    /// A watcher of nothing yet.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify, watches: BTreeMap::new(), next: BTreeMap::new(), incomplete: false })
    }

    /// Begins a new set of watches; those that are not asked for again before [`Self::finish`] end there.
    pub fn begin(&mut self) {
        self.incomplete = false;
    }

    /// Watches one name in a directory. Call it before looking at the name, so that no change falls between.
    pub fn name(&mut self, directory: &Path, name: &OsStr) {
        if let Some(interest) = self.watch(directory) {
            interest.names.insert(name.to_owned());
        }
    }

    /// Watches every manifest in a directory.
    pub fn manifests(&mut self, directory: &Path) {
        if let Some(interest) = self.watch(directory) {
            interest.manifests = true;
        }
    }

    /// Ends the watches that were not asked for since [`Self::begin`].
    pub fn finish(&mut self) {
        let next = std::mem::take(&mut self.next);
        for descriptor in self.watches.keys().filter(|descriptor| !next.contains_key(*descriptor)) {
            // The kernel has ended it already if its directory is gone.
            let _gone = inotify::remove_watch(&self.inotify, *descriptor);
        }
        self.watches = next;
    }

    /// Whether something could not be watched, so that only looking again will find its changes.
    pub fn incomplete(&self) -> bool {
        self.incomplete
    }

    /// Says what happened since the last call, in order; empties the kernel's queue without waiting.
    pub fn events(&mut self, mut saw: impl FnMut(ChangedName, Seen)) {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_drained) => return,
            };
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let relevant = event.events().contains(ReadFlags::QUEUE_OVERFLOW)
                || self.watches.get(&event.wd()).is_some_and(|interest| interest.covers(name));
            if relevant {
                saw(ChangedName(event.wd(), name.unwrap_or_default().to_owned()), seen(event.events()));
            }
        }
    }

    fn watch(&mut self, directory: &Path) -> Option<&mut Interest> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        if self.next.len() >= WATCHES_MAX {
            self.incomplete = true;
            return None;
        }
        match inotify::add_watch(&self.inotify, directory, flags) {
            Ok(descriptor) => Some(self.next.entry(descriptor).or_default()),
            // A directory that is missing will be seen in its parent when it comes.
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            // One that may be passed but not read, or the user's number of watches is used up.
            Err(_) => {
                self.incomplete = true;
                None
            }
        }
    }
}

fn seen(flags: ReadFlags) -> Seen {
    let whole = ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO | ReadFlags::DELETE;
    if flags.intersects(whole) {
        Seen::Whole
    } else if flags.contains(ReadFlags::MODIFY) {
        Seen::Writing
    } else if flags.contains(ReadFlags::CREATE) {
        Seen::Created
    } else {
        Seen::Touched
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Interest {
    fn covers(&self, name: Option<&OsStr>) -> bool {
        // Without a name it is the directory itself that moved or went.
        name.is_none_or(|name| self.names.contains(name) || (self.manifests && is_manifest(name)))
    }
}

/// Whether a file name is that of a manifest. Hidden files are editors' business.
pub(super) fn is_manifest(name: &OsStr) -> bool {
    let hidden = name.as_bytes().starts_with(b".");
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Follows a path as the kernel would, watching every name on the way before looking at it.
///
/// Returns when the path ends, whether or not it leads anywhere: a missing name is watched where it is missing.
pub(super) fn watch_path(watcher: &mut Watcher, path: &Path) {
    // As many as the kernel follows before it says ELOOP.
    let mut links = 40;
    let mut at = PathBuf::from("/");
    let mut left: Vec<OsString> = components(path).rev().collect();
    while let Some(name) = left.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        watcher.name(&at, &name);
        at.push(&name);
        let Ok(target) = std::fs::read_link(&at) else {
            if !at.exists() {
                return;
            }
            continue;
        };
        links -= 1;
        if links == 0 {
            return;
        }
        at.pop();
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        left.extend(components(&target).rev().collect::<Vec<_>>());
    }
}

fn components(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    use std::path::Component;
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_known_by_their_extension_and_hidden_files_are_none() {
        for (name, expected) in [
            ("a.yaml", true),
            ("a.yml", true),
            ("a.json", true),
            ("a.yaml~", false),
            (".a.yaml.swp", false),
            (".#a.yaml", false),
            ("a.log", false),
            ("yaml", false),
        ] {
            assert_eq!(is_manifest(OsStr::new(name)), expected, "{name}");
        }
    }
}
