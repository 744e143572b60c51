//! The one canonical form of a path, for what is configured and for what is asked alike.
//!
//! Two spellings of one path become the same text here, so that no rule can be passed, or missed, by writing a path
//! differently; what has no agreed meaning is refused. Never decodes `%2F` and never merges `//`: upstreams differ about
//! them.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A whole path, in the canonical form in which requests' paths are compared with it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalPath(Arc<str>);

impl CanonicalPath {
    /// The canonical form of a path. A question mark in it is one of its characters: a query is no part of a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let mut canonical = String::with_capacity(text.len());
        write_canonical_path(text, &mut canonical)?;
        Ok(Self(canonical.into()))
    }

    /// It begins with a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CanonicalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for CanonicalPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A path prefix without trailing slash: `/abc` covers `/abc`, `/abc/` and `/abc/d`, not `/abcd`. The root is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Arc<str>);

impl PathPrefix {
    /// The prefix of every path.
    pub fn root() -> Self {
        Self("".into())
    }

    /// The canonical form of `/a/b` or `/a/b/`; one trailing slash is ignored.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let CanonicalPath(path) = CanonicalPath::parse(text)?;
        Ok(Self(path.strip_suffix('/').map_or_else(|| Arc::clone(&path), Arc::from)))
    }

    /// What follows the prefix (empty, or beginning with a slash); `None` if the path is not below it.
    pub fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&*self.0).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The prefix without trailing slash; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for PathPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "/" } else { &self.0 })
    }
}

/// Why a path has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with a slash.
    NotAbsolute,
    /// A control byte, a space, or an escaped NUL.
    ControlByte,
    /// A fragment: it is never sent (RFC 9110 section 7.1).
    Fragment,
    /// A backslash, which some upstreams take for a slash.
    Backslash,
    /// `%` without two hexadecimal digits.
    Escape,
    /// More `..` than segments before them.
    AboveRoot,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "does not begin with a slash",
            Self::ControlByte => "has a space or a control byte (a space is written %20)",
            Self::Fragment => "has a fragment, which is never sent (a number sign is written %23)",
            Self::Backslash => "has a backslash (which is written %5C)",
            Self::Escape => {
                "has a percent sign without two hexadecimal digits (the sign itself is written %25)"
            }
            Self::AboveRoot => "leads above the root",
        })
    }
}

impl std::error::Error for PathError {}

/// Writes the canonical form of a path, which replaces what is in `out`.
///
/// Dot segments are resolved (RFC 3986 section 5.2.4) after escapes of unreserved characters are decoded (section
/// 6.2.2.2); other escapes keep their meaning and get upper-case digits; bytes that no URI may hold are escaped, so
/// that `/é` and `/%C3%A9` are one path. On error `out` holds nothing of use.
pub fn write_canonical_path(raw: &str, out: &mut String) -> Result<(), PathError> {
    out.clear();
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if raw.bytes().fold(true, |plain, b| plain & (CLASS[b as usize] == Class::Plain)) && !raw.contains("/.") {
        out.push_str(raw);
        return Ok(());
    }
    let mut segments = raw[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let start = out.len();
        out.push('/');
        write_segment(segment, out)?;
        match &out[start..] {
            "/." => out.truncate(start),
            "/.." => {
                let parent = out[..start].rfind('/').ok_or(PathError::AboveRoot)?;
                out.truncate(parent);
            }
            _ => continue,
        }
        if segments.peek().is_none() {
            out.push('/');
        }
    }
    Ok(())
}

fn write_segment(segment: &str, out: &mut String) -> Result<(), PathError> {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        match CLASS[byte as usize] {
            Class::Plain => out.push(char::from(byte)),
            Class::Escape => match decode(bytes.next(), bytes.next()).ok_or(PathError::Escape)? {
                0 => return Err(PathError::ControlByte),
                decoded if is_unreserved(decoded) => out.push(char::from(decoded)),
                decoded => push_escape(decoded, out),
            },
            Class::Foreign => push_escape(byte, out),
            Class::Refused(reason) => return Err(reason),
        }
    }
    Ok(())
}

fn decode(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

fn push_escape(byte: u8, out: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.push('%');
    out.push(HEX[usize::from(byte >> 4)]);
    out.push(HEX[usize::from(byte & 15)]);
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// What a byte means in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A slash or a `pchar` (RFC 3986 section 3.3): passes.
    Plain,
    /// `%`
    Escape,
    /// No URI may hold it, but its meaning is clear: escaped.
    Foreign,
    /// Refused.
    Refused(PathError),
}

const CLASS: [Class; 256] = {
    let mut table = [Class::Foreign; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        table[index] = match byte {
            0..=0x20 | 0x7f => Class::Refused(PathError::ControlByte),
            b'#' => Class::Refused(PathError::Fragment),
            b'\\' => Class::Refused(PathError::Backslash),
            b'%' => Class::Escape,
            b'/' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';'
            | b'=' => Class::Plain,
            _ if is_unreserved(byte) => Class::Plain,
            _ => Class::Foreign,
        };
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_ends_at_an_element() {
        for (prefix, path, rest) in [
            ("/abc", "/abc", Some("")),
            ("/abc", "/abc/", Some("/")),
            ("/abc/", "/abc/d", Some("/d")),
            ("/abc", "/abcd", None),
            ("/", "/x", Some("/x")),
            ("/abc", "/ABC", None),
        ] {
            assert_eq!(PathPrefix::parse(prefix).unwrap().rest(path), rest, "{prefix} {path}");
        }
    }

    #[test]
    fn a_configured_path_is_canonical_or_not_there() {
        let prefix = |text| PathPrefix::parse(text).map(|prefix| prefix.as_str().to_owned());
        let exact = |text| CanonicalPath::parse(text).map(|path| path.as_str().to_owned());
        for (text, as_prefix, as_path) in [
            ("/%7Ea", "/~a", "/~a"),
            ("/a%2fb/", "/a%2Fb", "/a%2Fb/"),
            ("/é", "/%C3%A9", "/%C3%A9"),
            ("/a/./b/..", "/a", "/a/"),
            ("/a/..", "", "/"),
            ("/a//", "/a/", "/a//"),
            ("/a?", "/a%3F", "/a%3F"),
        ] {
            assert_eq!(prefix(text).as_deref(), Ok(as_prefix), "{text}");
            assert_eq!(exact(text).as_deref(), Ok(as_path), "{text}");
        }
        for (text, error) in
            [("abc", PathError::NotAbsolute), ("/a b", PathError::ControlByte), ("/%", PathError::Escape)]
        {
            assert_eq!((prefix(text), exact(text)), (Err(error), Err(error)), "{text}");
        }
    }

    fn path(raw: &str) -> Result<String, PathError> {
        let mut out = String::from("left over");
        write_canonical_path(raw, &mut out).map(|()| out)
    }

    #[test]
    fn spellings_of_one_path_become_one_text() {
        for (raw, canonical, why) in [
            ("/", "/", ""),
            ("/a/b", "/a/b", "nothing to do"),
            ("/a/./b", "/a/b", "RFC 3986 5.2.4"),
            ("/a/../b", "/b", "RFC 3986 5.2.4"),
            ("/a/b/..", "/a/", "RFC 3986 5.2.4: a dot segment at the end leaves a slash"),
            ("/a/.", "/a/", "RFC 3986 5.2.4"),
            ("/a/..", "/", "RFC 3986 5.2.4"),
            ("/a/b/c/./../../g", "/a/g", "RFC 3986 5.2.4, its example"),
            ("/a/%2e%2E/b", "/b", "an escaped dot is a dot"),
            ("/a/.%2e/b", "/b", "an escaped dot is a dot"),
            ("/a/%2E/b", "/a/b", "an escaped dot is a dot"),
            ("/...", "/...", "three dots are a name"),
            ("/.a/b./..c", "/.a/b./..c", "dots in names"),
            ("/a//b", "/a//b", "empty segments are kept"),
            ("//", "//", "empty segments are kept"),
            ("/a//../b", "/a/b", "an empty segment is a segment"),
            ("//..", "/", "an empty segment is a segment"),
            ("/%41%7a%2D%5F%7E", "/Az-_~", "RFC 3986 6.2.2.2: unreserved"),
            ("/a%2fb%2F", "/a%2Fb%2F", "RFC 3986 6.2.2.1: an escaped slash stays escaped"),
            ("/%2e%2e%2fb", "/..%2Fb", "no dot segment: its slash is data"),
            ("/a%5c", "/a%5C", "an escaped backslash stays"),
            ("/a%25%32e", "/a%252e", "decoded once only"),
            ("/a;b=c,d@e:f!$&'()*+", "/a;b=c,d@e:f!$&'()*+", "RFC 3986 3.3: pchar"),
            ("/a/..;/b", "/a/..;/b", "no dot segment"),
            ("/é", "/%C3%A9", "no URI may hold it"),
            ("/a[1]{2}|\"<>^`", "/a%5B1%5D%7B2%7D%7C%22%3C%3E%5E%60", "no URI may hold them"),
            ("/%0d%0a", "/%0D%0A", "escaped, so it cannot break a line"),
        ] {
            assert_eq!(path(raw).as_deref(), Ok(canonical), "{raw}: {why}");
        }
    }

    #[test]
    fn paths_without_an_agreed_meaning_are_refused() {
        for (raw, error) in [
            ("", PathError::NotAbsolute),
            ("a", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("/..", PathError::AboveRoot),
            ("/a/../..", PathError::AboveRoot),
            ("/%2e%2e/a", PathError::AboveRoot),
            ("/./../a", PathError::AboveRoot),
            ("/a\\b", PathError::Backslash),
            ("/a#b", PathError::Fragment),
            ("/a\0", PathError::ControlByte),
            ("/a%00", PathError::ControlByte),
            ("/a b", PathError::ControlByte),
            ("/a\x7f", PathError::ControlByte),
            ("/%", PathError::Escape),
            ("/%4", PathError::Escape),
            ("/%4/1", PathError::Escape),
            ("/%g1", PathError::Escape),
            ("/%+1", PathError::Escape),
        ] {
            assert_eq!(path(raw), Err(error), "{raw:?}");
        }
    }

    /// Paths made of the pieces that matter, so that dot segments and escapes are common.
    fn paths() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/", "/", ".", "..", "a", "b", "%2e", "%2E", "%2f", "%5c", "%41", "%7e", "é", "[", ";", "%c3",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own_canonical_form(raw in paths()) {
            if let Ok(once) = path(&raw) {
                prop_assert_eq!(path(&once), Ok(once.clone()));
                prop_assert!(once.starts_with('/'));
                prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(once.is_ascii());
            }
        }

        #[test]
        fn any_text_is_a_path_or_refused(raw in any::<String>().prop_map(|text| format!("/{text}"))) {
            if let Ok(once) = path(&raw) {
                prop_assert_eq!(path(&once), Ok(once));
            }
        }

        #[test]
        fn what_an_upstream_decodes_is_what_the_client_wrote(raw in paths()) {
            // A naive model: decode only unreserved escapes, then resolve segments with a stack.
            if let Ok(canonical) = path(&raw) {
                let mut decoded = raw.clone();
                for (escape, plain) in [("%2e", "."), ("%2E", "."), ("%41", "A"), ("%7e", "~"), ("%2f", "%2F"),
                    ("%5c", "%5C"), ("é", "%C3%A9"), ("[", "%5B"), ("%c3", "%C3")]
                {
                    decoded = decoded.replace(escape, plain);
                }
                let mut stack: Vec<&str> = Vec::new();
                let segments: Vec<&str> = decoded[1..].split('/').collect();
                for (index, segment) in segments.iter().enumerate() {
                    let last = index + 1 == segments.len();
                    match *segment {
                        "." => {}
                        ".." => { stack.pop(); }
                        name => { stack.push(name); continue }
                    }
                    if last {
                        stack.push("");
                    }
                }
                prop_assert_eq!(canonical, format!("/{}", stack.join("/")));
            }
        }
    }
}
