//! Heads of requests and responses: one block of bytes and a flat list of ranges into it.
//!
//! Order and duplicates of fields are kept; names are lower case. A head that is [`clear`](Fields::clear)ed keeps its
//! allocations, so a connection that reuses one allocates nothing. `http::HeaderMap` appears in the HTTP/2 codec only.

use std::ops::Range;

use http::{Method, StatusCode};

use crate::arrival::Scheme;

/// The protocol version a message came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Version {
    /// As access logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// A range of a block. Offsets fit in 32 bits since `limits` bounds every head far below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Header or trailer fields, in order.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    block: Vec<u8>,
    list: Vec<(Span, Span)>,
}

impl Fields {
    /// Without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything, keeps the allocations.
    pub fn clear(&mut self) {
        self.block.clear();
        self.list.clear();
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a field at the end. The name is made lower case; the caller has checked that both are legal.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        let name = self.store(name);
        self.block[name.range()].make_ascii_lowercase();
        let value = self.store(value);
        self.list.push((name, value));
    }

    /// Replaces all values of a name by one, in the place of the first.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        match self.list.iter().position(|(n, _)| &self.block[n.range()] == name.as_bytes()) {
            None => self.append(name.as_bytes(), value),
            Some(first) => {
                self.list[first].1 = self.store(value);
                self.keep_first_only(name, first);
            }
        }
    }

    /// Adds a field at the end whose value is written straight into the block.
    pub fn append_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let name = self.store(name.as_bytes());
        let value = self.store_with(write);
        self.list.push((name, value));
    }

    /// Joins all values of a name by `, `, adds what is written, and keeps the result in the place of the first.
    pub fn extend_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(first) = self.list.iter().position(|(n, _)| &self.block[n.range()] == name.as_bytes())
        else {
            return self.append_with(name, write);
        };
        let list = &self.list;
        let start = self.block.len();
        for (n, value) in &list[first..] {
            if &self.block[n.range()] == name.as_bytes() && value.start < value.end {
                self.block.extend_from_within(value.range());
                self.block.extend_from_slice(b", ");
            }
        }
        write(&mut self.block);
        self.list[first].1 = span(start, self.block.len());
        self.keep_first_only(name, first);
    }

    /// Deletes all values of a name (lower case); says whether there were any.
    pub fn remove(&mut self, name: &str) -> bool {
        self.retain(|n, _| n != name.as_bytes())
    }

    /// Keeps the fields for which the function returns true; says whether any was deleted.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> bool {
        let before = self.list.len();
        let block = &self.block;
        self.list.retain(|(name, value)| keep(&block[name.range()], &block[value.range()]));
        self.list.len() < before
    }

    /// The first value of a name (lower case).
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// Every value of a name (lower case), in order.
    pub fn all<'f>(&'f self, name: &'f str) -> impl DoubleEndedIterator<Item = &'f [u8]> {
        self.iter().filter(move |(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// Whether a name (lower case) occurs.
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// Every name and value, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|(name, value)| (&self.block[name.range()], &self.block[value.range()]))
    }

    /// Bytes that the fields take, as HTTP/2 counts them without its 32 a field (RFC 9113 section 6.5.2).
    pub fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    fn keep_first_only(&mut self, name: &str, first: usize) {
        let mut index = 0;
        let block = &self.block;
        self.list.retain(|(n, _)| {
            index += 1;
            index - 1 <= first || &block[n.range()] != name.as_bytes()
        });
    }

    fn store(&mut self, bytes: &[u8]) -> Span {
        self.store_with(|block| block.extend_from_slice(bytes))
    }

    fn store_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.block.len();
        write(&mut self.block);
        span(start, self.block.len())
    }
}

fn span(start: usize, end: usize) -> Span {
    let offset = |at: usize| u32::try_from(at).expect("limits bound a head far below 4 GiB");
    Span { start: offset(start), end: offset(end) }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut fields = Self::new();
        for (name, value) in pairs {
            fields.append(name.as_ref(), value.as_ref());
        }
        fields
    }
}

/// The head of a request in canonical form: what policy sees, the router sees and the upstream receives.
///
/// `Host` and pseudo-headers are not among the fields: the codecs write them from `authority`, `path` and `query`.
/// Nor are `content-length` and `transfer-encoding`: how long the body is travels beside the head, and the codecs
/// write it for the protocol at hand.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The version it came with.
    pub version: Version,
    /// What the client believes to speak: from the connection, or `:scheme`.
    pub scheme: Scheme,
    /// Canonical host with port as it came (`example.com:8080`); empty for an HTTP/1.0 request without `Host`.
    authority: String,
    host_length: usize,
    /// Canonical path; `*` for `OPTIONS *`.
    path: String,
    /// Empty without a query; apart from `has_query` so that a head that is used again keeps the allocation.
    query: String,
    has_query: bool,
    /// The extended CONNECT protocol (RFC 8441), such as `websocket`.
    pub protocol: Option<String>,
    /// All other fields.
    pub fields: Fields,
}

impl RequestHead {
    /// An empty `GET /`; filled by a codec, reused by its connection.
    pub fn new() -> Self {
        Self {
            method: Method::GET,
            version: Version::Http11,
            scheme: Scheme::Http,
            authority: String::new(),
            host_length: 0,
            path: String::from("/"),
            query: String::new(),
            has_query: false,
            protocol: None,
            fields: Fields::new(),
        }
    }

    /// The canonical host, without port.
    pub fn host(&self) -> &str {
        &self.authority[..self.host_length]
    }

    /// Host and port as forwarded.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Sets host and port; the caller has made the host canonical. `port` is kept as it was written.
    pub fn set_authority(&mut self, host: &str, port: Option<u16>) {
        use std::fmt::Write;
        self.authority.clear();
        self.authority.push_str(host);
        self.host_length = host.len();
        if let Some(port) = port {
            write!(self.authority, ":{port}").expect("writing to a String cannot fail");
        }
    }

    /// The canonical path, without query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Sets the path; the caller has made it canonical.
    pub fn set_path(&mut self, path: &str) {
        self.path.clear();
        self.path.push_str(path);
    }

    /// Replaces the first bytes of the path, in place; the caller sees to it that it stays canonical.
    pub fn replace_path_start(&mut self, length: usize, with: &str) {
        self.path.replace_range(..length, with);
    }

    /// The query without `?`, as it came.
    pub fn query(&self) -> Option<&str> {
        self.has_query.then_some(&*self.query)
    }

    /// Sets the query.
    pub fn set_query(&mut self, query: Option<&str>) {
        self.query.clear();
        self.query.push_str(query.unwrap_or_default());
        self.has_query = query.is_some();
    }

    /// Back to an empty `GET /`; keeps the allocations.
    pub fn clear(&mut self) {
        self.method = Method::GET;
        self.version = Version::Http11;
        self.scheme = Scheme::Http;
        self.authority.clear();
        self.host_length = 0;
        self.set_path("/");
        self.set_query(None);
        self.protocol = None;
        self.fields.clear();
    }

    /// The path's buffer, for `canonical` to write into.
    pub(crate) fn path_buffer(&mut self) -> &mut String {
        &mut self.path
    }

    /// Host and port become lower case.
    pub(crate) fn lower_authority(&mut self) {
        self.authority.make_ascii_lowercase();
    }
}

impl Default for RequestHead {
    fn default() -> Self {
        Self::new()
    }
}

/// The head of a response.
///
/// `transfer-encoding` is never among its fields, and `content-length` only where there is no body to count: in answers
/// to HEAD and in 304.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The version it came with.
    pub version: Version,
    /// Its fields.
    pub fields: Fields,
}

impl ResponseHead {
    /// An empty 200; filled by a codec, reused by its connection.
    pub fn new() -> Self {
        Self { status: StatusCode::OK, version: Version::Http11, fields: Fields::new() }
    }

    /// Back to an empty 200; keeps the allocations.
    pub fn clear(&mut self) {
        self.status = StatusCode::OK;
        self.version = Version::Http11;
        self.fields.clear();
    }
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(fields: &Fields) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        fields.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn order_and_duplicates_are_kept_and_names_are_lower_case() {
        let fields: Fields = [("Via", "a"), ("X-B", "1"), ("via", "b")].into_iter().collect();
        assert_eq!(pairs(&fields), [("via", "a"), ("x-b", "1"), ("via", "b")]);
        assert_eq!(fields.all("via").collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn setting_replaces_every_value_in_the_place_of_the_first() {
        let mut fields: Fields = [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")].into_iter().collect();
        fields.set("a", b"new");
        assert_eq!(pairs(&fields), [("a", "new"), ("b", "2"), ("c", "4")]);
        fields.set("d", b"5");
        assert!(fields.remove("b") && !fields.remove("b"));
        assert_eq!(pairs(&fields), [("a", "new"), ("c", "4"), ("d", "5")]);
    }

    #[test]
    fn extending_joins_every_value_in_the_place_of_the_first() {
        let mut fields: Fields = [("a", "1"), ("b", "2"), ("a", ""), ("a", "3")].into_iter().collect();
        fields.extend_with("a", |value| value.extend_from_slice(b"4"));
        assert_eq!(pairs(&fields), [("a", "1, 3, 4"), ("b", "2")]);
        fields.extend_with("c", |value| value.extend_from_slice(b"5"));
        assert_eq!(pairs(&fields), [("a", "1, 3, 4"), ("b", "2"), ("c", "5")]);
    }

    #[test]
    fn a_cleared_head_equals_a_new_one() {
        let mut head = RequestHead::new();
        head.set_authority("a", Some(1));
        head.set_path("/b");
        head.set_query(Some("c"));
        head.fields.append(b"d", b"e");
        head.clear();
        assert_eq!(head, RequestHead::new());
        head.set_query(Some(""));
        assert_eq!(head.query(), Some(""), "an empty query is a query");
    }

    #[test]
    fn the_host_is_the_authority_without_its_port() {
        let mut head = RequestHead::new();
        head.set_authority("example.com", Some(8080));
        assert_eq!((head.host(), head.authority()), ("example.com", "example.com:8080"));
        head.set_authority("[::1]", None);
        assert_eq!((head.host(), head.authority()), ("[::1]", "[::1]"));
    }
}
