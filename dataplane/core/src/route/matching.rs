//! Whether a request fits a match, and what is wrong if not.

use http::Method;
use ringway_config::{HttpMatch, PathMatch, ValueMatch};

use crate::compiled::grpc_parts;
use crate::message::RequestHead;

/// What about a request a match does not cover: the first thing found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The path.
    Path,
    /// The method.
    Method,
    /// The header condition with this index.
    Header(usize),
    /// The query condition with this index.
    Query(usize),
}

/// Whether the path fits.
pub(crate) fn path_mismatch(it: &HttpMatch, head: &RequestHead) -> Option<Mismatch> {
    let path = head.path();
    let fits = match &it.path {
        PathMatch::Exact(exact) => exact.as_str() == path,
        PathMatch::Prefix(prefix) => prefix.rest(path).is_some(),
        PathMatch::Regex(pattern) => pattern.matches(path),
        PathMatch::Grpc(grpc) => grpc_parts(path).is_some_and(|(service, method)| {
            grpc.service.as_ref().is_none_or(|wanted| wanted.matches(service))
                && grpc.method.as_ref().is_none_or(|wanted| wanted.matches(method))
        }),
    };
    (!fits).then_some(Mismatch::Path)
}

/// Whether everything else fits. `scratch` keeps its memory from call to call.
pub(crate) fn mismatch_beyond_path(
    it: &HttpMatch,
    head: &RequestHead,
    scratch: &mut Vec<u8>,
) -> Option<Mismatch> {
    if it.method.as_ref().is_some_and(|method| method != asked_method(head)) {
        return Some(Mismatch::Method);
    }
    let header = it.headers.iter().position(|header| {
        let values = || values_of(head, header.name.as_str());
        values().next().is_none() || !matches(&header.value, joined(values()), scratch)
    });
    let header = header.map(Mismatch::Header);
    header.or_else(|| {
        let query = it.query.iter().position(|query| {
            !query_value(head.query().unwrap_or_default(), &query.name)
                .is_some_and(|value| matches(&query.value, decoded(value), scratch))
        });
        query.map(Mismatch::Query)
    })
}

/// An extended CONNECT (RFC 8441) asks for what a GET with `Upgrade` asks for in HTTP/1.1: the same rules serve both.
fn asked_method(head: &RequestHead) -> &Method {
    match head.protocol {
        Some(_) if head.method == Method::CONNECT => &Method::GET,
        _ => &head.method,
    }
}

/// The values of a header; `Host` is not among the fields.
fn values_of<'h>(head: &'h RequestHead, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    let host = (name == "host").then(|| head.authority().as_bytes());
    host.into_iter().chain(head.fields.all(name))
}

/// Several values are one, joined by commas (checklist M4).
fn joined<'h>(values: impl Iterator<Item = &'h [u8]>) -> impl Iterator<Item = u8> {
    values
        .enumerate()
        .flat_map(|(index, value)| (index > 0).then_some(b',').into_iter().chain(value.iter().copied()))
}

/// The still encoded value of the first parameter with this name (checklist M4).
fn query_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| {
        let (its_name, value) = pair.split_once('=').unwrap_or((pair, ""));
        decoded(its_name).eq(name.bytes()).then_some(value)
    })
}

/// The bytes of a form-encoded text; an escape that is none stands for itself.
fn decoded(text: &str) -> impl Iterator<Item = u8> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, after) = rest.split_first()?;
        rest = after;
        match (first, hex(after.first()), hex(after.get(1))) {
            (b'+', ..) => Some(b' '),
            (b'%', Some(high), Some(low)) => {
                rest = &after[2..];
                Some((high * 16 + low) as u8)
            }
            _ => Some(*first),
        }
    })
}

fn matches(wanted: &ValueMatch, bytes: impl Iterator<Item = u8>, scratch: &mut Vec<u8>) -> bool {
    match wanted {
        ValueMatch::Exact(exact) => bytes.eq(exact.bytes()),
        ValueMatch::Regex(pattern) => {
            scratch.clear();
            scratch.extend(bytes);
            std::str::from_utf8(scratch).is_ok_and(|text| pattern.matches(text))
        }
    }
}
