//! Where configuration comes from: files and directories, and the kernel's word that they changed.

mod directory;
mod inotify;
mod unfit;

pub use directory::{Directory, FILE_BYTES_MAX, FILES_MAX, Found, Made, Reading, Root, SourceName};
pub use inotify::{ChangedName, WATCHES_MAX, Watcher};
pub use unfit::Unfit;
