//! New paths for requests: what a rewrite forwards and what a redirect names. The query is not theirs to change.

use std::borrow::Cow;

use ringway_config::PathRewrite;

use crate::message::RequestHead;

/// Changes the path of a request in place.
pub(crate) fn apply(rewrite: &PathRewrite, head: &mut RequestHead) {
    let (length, with) = edit(rewrite, head.path());
    head.replace_path_start(length, with);
}

/// The path that a rewrite makes of a path.
pub(crate) fn rewritten<'p>(rewrite: &'p PathRewrite, path: &'p str) -> Cow<'p, str> {
    let (length, with) = edit(rewrite, path);
    match &path[length..] {
        "" => Cow::Borrowed(with),
        rest if with.is_empty() => Cow::Borrowed(rest),
        rest => Cow::Owned(format!("{with}{rest}")),
    }
}

/// How many bytes at the path's start are replaced, and by what (checklist F5, F6). What comes of it is canonical, as
/// both parts are.
fn edit<'r>(rewrite: &'r PathRewrite, path: &str) -> (usize, &'r str) {
    match rewrite {
        PathRewrite::Full(full) => (path.len(), full.as_str()),
        PathRewrite::Prefix { matched, replacement } => match matched.rest(path) {
            // An earlier rewrite has moved the path from below the prefix: there is nothing to replace.
            None => (0, ""),
            Some("") => (path.len(), replacement.as_str()),
            Some(_) => {
                let with = replacement.as_str();
                (matched.as_str().len(), with.strip_suffix('/').unwrap_or(with))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use ringway_config::{CanonicalPath, PathPrefix};

    use super::*;

    #[test]
    fn a_replaced_prefix_keeps_what_follows_it() {
        // Checklist F5: the table of the specification, then our own cases.
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/", "/xyz", "/xyz/foo/bar"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/foobar", "/foo", "/xyz", "/foobar"),
            ("/foo//bar", "/foo", "/xyz", "/xyz//bar"),
        ] {
            let matched = PathPrefix::parse(prefix).unwrap();
            let rewrite =
                PathRewrite::Prefix { matched, replacement: CanonicalPath::parse(replacement).unwrap() };
            assert_eq!(rewritten(&rewrite, path), expected, "{path}: {prefix} to {replacement:?}");
            let mut head = RequestHead::new();
            head.set_path(path);
            head.set_query(Some("a=/foo"));
            apply(&rewrite, &mut head);
            assert_eq!(
                (head.path(), head.query()),
                (expected, Some("a=/foo")),
                "{path}: {prefix} to {replacement:?}"
            );
        }
    }

    #[test]
    fn a_full_path_replaces_everything_but_the_query() {
        // Checklist F6.
        let mut head = RequestHead::new();
        head.set_path("/old");
        head.set_query(Some("q"));
        apply(&PathRewrite::Full(CanonicalPath::parse("/new/one").unwrap()), &mut head);
        assert_eq!((head.path(), head.query()), ("/new/one", Some("q")));
    }
}
