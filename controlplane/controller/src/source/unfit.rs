//! Why a file or directory gives no text to read, as a finding with a code and a place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway_gateway_api::manifest::{ObjectName, Place, SourceName};
use ringway_gateway_api::validate::{Code, Finding};

use super::inotify::is_manifest;

/// The most folders that are looked into for manifests that were perhaps meant.
const FOLDERS_MAX: usize = 100;
/// The most of them that are named.
const FOLDERS_SHOWN: usize = 3;

/// Why there is no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    code: Code,
    line: u32,
    message: String,
    hint: Option<String>,
}

impl Unfit {
    /// It cannot be read; why, and perhaps what to do: `what is wrong; what to do`.
    pub fn unreadable(reason: &str) -> Self {
        let (reason, hint) =
            reason.split_once("; ").map_or((reason, None), |(reason, hint)| (reason, Some(hint)));
        let message = format!("cannot be read: {reason}");
        Self { code: Code::Unreadable, line: 1, message, hint: hint.map(str::to_owned) }
    }

    /// A directory without manifests. Those of its folders that hold some are named.
    pub(super) fn empty(directory: &Path) -> Self {
        let message = "there is no .yaml, .yml or .json file directly in this directory".to_owned();
        let folders: Vec<String> = folders_with_manifests(directory)
            .iter()
            .take(FOLDERS_SHOWN)
            .map(|folder| folder.display().to_string())
            .collect();
        let hint = (!folders.is_empty()).then(|| {
            format!("folders are not looked into; name those that are meant, such as {}", folders.join(", "))
        });
        Self { code: Code::NothingToRead, line: 1, message, hint }
    }

    /// The text that bytes are, or why they are none.
    pub(super) fn or_text(bytes: Vec<u8>) -> Result<String, Self> {
        let not_text = |before: &[u8], message: &str| {
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            Self { code: Code::NotText, line, message: message.to_owned(), hint: None }
        };
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(not_text(&[], "is UTF-16 text"));
        }
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return Err(not_text(&bytes[..at], "holds a zero byte, so it is binary, or UTF-16 text"));
        }
        String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            not_text(before, "holds a byte that no character of UTF-8 begins with")
        })
    }

    /// What is told of it.
    pub fn finding(&self, source: &SourceName) -> Finding {
        Finding {
            code: self.code,
            severity: self.code.severity(),
            object: ObjectName::default(),
            field: String::new(),
            place: Place { source: Arc::clone(source), line: self.line, column: 1 },
            message: self.message.clone(),
            hint: self.hint.clone().unwrap_or_else(|| self.code.remedy().to_owned()),
        }
    }
}

fn folders_with_manifests(directory: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let hidden = |path: &Path| path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let folders = entries(directory).map(|entry| entry.path()).filter(|path| path.is_dir() && !hidden(path));
    let holds_some = |path: &PathBuf| entries(path).any(|entry| is_manifest(&entry.file_name()));
    let mut folders: Vec<PathBuf> = folders.take(FOLDERS_MAX).filter(holds_some).collect();
    folders.sort();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_told_with_the_line() {
        let utf16: Vec<u8> = "kind: Gateway".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, expected) in [
            ([&[0xff, 0xfe], &utf16[..]].concat(), "x:1:1: error[RW1017]: is UTF-16 text; save it as UTF-8"),
            (
                utf16,
                "x:1:1: error[RW1017]: holds a zero byte, so it is binary, or UTF-16 text; save it as UTF-8",
            ),
            (
                b"a: b\nc: \xe9\n".to_vec(),
                "x:2:1: error[RW1017]: holds a byte that no character of UTF-8 begins with; save it as UTF-8",
            ),
        ] {
            let unfit = Unfit::or_text(bytes).unwrap_err();
            assert_eq!(unfit.finding(&"x".into()).to_string(), expected);
        }
        assert_eq!(Unfit::or_text(b"a: \xc3\xa9".to_vec()), Ok("a: é".to_owned()));
    }

    #[test]
    fn what_cannot_be_read_has_a_code_and_keeps_its_own_hint() {
        for (reason, expected) in [
            ("denied", "x:1:1: error[RW1016]: cannot be read: denied; correct its name or its permissions"),
            ("too large; split it", "x:1:1: error[RW1016]: cannot be read: too large; split it"),
        ] {
            assert_eq!(Unfit::unreadable(reason).finding(&"x".into()).to_string(), expected);
        }
    }
}
