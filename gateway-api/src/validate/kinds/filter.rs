//! Filters of HTTP and gRPC routes.

use serde_json::Value;

use super::super::code::Code;
use super::super::form;
use super::super::schema::Default::Integer;
use super::super::schema::Distinct::{By, Value as Whole};
use super::super::schema::{
    Field, INT32_MAX, Shape, defaulted, formed, integer, list, object, optional, required, ruled, text,
};
use super::super::walk::Checker;
use super::rules::{has, items, of};
use super::shared::{ANY_TEXT, BACKEND, LOCAL_REFERENCE, PORT, PRECISE_HOSTNAME};

pub(super) const HTTP_FILTERS: Shape = list(&HTTP_FILTER, 0, 16).with(&[not_repeated, redirect_or_rewrite]);
pub(super) const GRPC_FILTERS: Shape = list(&GRPC_FILTER, 0, 16).with(&[not_repeated]);

/// Each filter's type, and the field that holds its settings.
const SETTINGS: &[(&str, &str)] = &[
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestMirror", "requestMirror"),
    ("RequestRedirect", "requestRedirect"),
    ("URLRewrite", "urlRewrite"),
    ("CORS", "cors"),
    ("ExternalAuth", "externalAuth"),
    ("ExtensionRef", "extensionRef"),
];

const REQUEST_HEADERS: Field = optional("requestHeaderModifier", HEADERS);
const RESPONSE_HEADERS: Field = optional("responseHeaderModifier", HEADERS);
const REQUEST_MIRROR: Field = optional("requestMirror", MIRROR);
const EXTENSION: Field = optional("extensionRef", LOCAL_REFERENCE);

const HTTP_FILTER: Shape = ruled(
    &[
        required(
            "type",
            Shape::OneOf(&[
                "RequestHeaderModifier",
                "ResponseHeaderModifier",
                "RequestMirror",
                "RequestRedirect",
                "URLRewrite",
                "ExtensionRef",
                "CORS",
                "ExternalAuth",
            ]),
        ),
        REQUEST_HEADERS,
        RESPONSE_HEADERS,
        REQUEST_MIRROR,
        EXTENSION,
        optional("requestRedirect", REDIRECT),
        optional("urlRewrite", REWRITE),
        optional("cors", CORS),
        optional("externalAuth", EXTERNAL_AUTH),
    ],
    &[settings_fit_type],
);

const GRPC_FILTER: Shape = ruled(
    &[
        required(
            "type",
            Shape::OneOf(&[
                "RequestHeaderModifier",
                "ResponseHeaderModifier",
                "RequestMirror",
                "ExtensionRef",
            ]),
        ),
        REQUEST_HEADERS,
        RESPONSE_HEADERS,
        REQUEST_MIRROR,
        EXTENSION,
    ],
    &[settings_fit_type],
);

const HEADERS: Shape = object(&[
    optional("set", list(&HEADER, 0, 16).distinct(By("name"))),
    optional("add", list(&HEADER, 0, 16).distinct(By("name"))),
    optional("remove", list(&ANY_TEXT, 0, 16).distinct(Whole)),
]);

const HEADER_NAME: Shape = formed(1, 256, &form::HEADER_NAME);
const HEADER: Shape =
    object(&[required("name", HEADER_NAME), required("value", formed(1, 4096, &form::HEADER_VALUE))]);

const MIRROR: Shape = ruled(
    &[
        required("backendRef", BACKEND),
        optional("percent", integer(0, 100)),
        optional(
            "fraction",
            ruled(
                &[
                    required("numerator", integer(0, INT32_MAX)),
                    defaulted("denominator", integer(1, INT32_MAX), Integer(100)),
                ],
                &[at_most_one],
            ),
        ),
    ],
    &[percent_or_fraction],
);

const REDIRECT: Shape = object(&[
    optional("scheme", Shape::OneOf(&["http", "https"])),
    optional("hostname", PRECISE_HOSTNAME),
    optional("path", PATH_CHANGE),
    optional("port", PORT),
    defaulted("statusCode", Shape::IntegerOf(&[301, 302, 303, 307, 308]), Integer(302)),
]);

const REWRITE: Shape = object(&[optional("hostname", PRECISE_HOSTNAME), optional("path", PATH_CHANGE)]);

const PATH_CHANGE: Shape = ruled(
    &[
        required("type", Shape::OneOf(&["ReplaceFullPath", "ReplacePrefixMatch"])),
        optional("replaceFullPath", text(0, 1024)),
        optional("replacePrefixMatch", text(0, 1024)),
    ],
    &[path_change_fits_type],
);

const CORS: Shape = object(&[
    optional("allowCredentials", Shape::Boolean),
    optional("allowOrigins", wildcard_list(&formed(1, 253, &form::ORIGIN), 64)),
    optional(
        "allowMethods",
        wildcard_list(
            &Shape::OneOf(&[
                "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*",
            ]),
            9,
        ),
    ),
    optional("allowHeaders", wildcard_list(&HEADER_NAME, 64)),
    optional("exposeHeaders", list(&HEADER_NAME, 0, 64).distinct(Whole)),
    defaulted("maxAge", integer(1, INT32_MAX), Integer(5)),
]);

const fn wildcard_list(item: &'static Shape, max: usize) -> Shape {
    list(item, 0, max).distinct(Whole).with(&[wildcard_alone])
}

const EXTERNAL_AUTH: Shape = ruled(
    &[
        required("protocol", Shape::OneOf(&["HTTP", "GRPC"])),
        required("backendRef", BACKEND),
        optional("grpc", object(&[optional("allowedHeaders", AUTH_HEADERS)])),
        optional(
            "http",
            object(&[
                optional("path", formed(0, 1024, &form::PATH)),
                optional("allowedHeaders", AUTH_HEADERS),
                optional("allowedResponseHeaders", AUTH_HEADERS),
            ]),
        ),
        optional("forwardBody", object(&[optional("maxSize", integer(i64::MIN, i64::MAX))])),
    ],
    &[auth_fits_protocol],
);

const AUTH_HEADERS: Shape = list(&ANY_TEXT, 0, 64).distinct(Whole);

/// Whether a filter replaces the matched prefix by its `settings`.
pub(super) fn replaces_prefix(filter: &Value, settings: &str) -> bool {
    let change = filter.get(settings).and_then(|settings| settings.get("path"));
    change
        .is_some_and(|change| of(change, "type") == "ReplacePrefixMatch" && has(change, "replacePrefixMatch"))
}

fn settings_fit_type<'v>(filter: &'v Value, check: &mut Checker<'v>) {
    for (kind, settings) in SETTINGS {
        match (of(filter, "type") == *kind, has(filter, settings)) {
            (true, false) => check.broken(&format!(".{settings}"), Code::FilterWithoutSettings),
            (false, true) => check.broken(&format!(".{settings}"), Code::FilterOfOtherType),
            _ => {}
        }
    }
}

/// Mirrors and extensions may appear several times, the others once.
fn not_repeated<'v>(filters: &'v Value, check: &mut Checker<'v>) {
    let once = |filter: &'v Value| {
        let kind = of(filter, "type");
        (!matches!(kind, "RequestMirror" | "ExtensionRef" | "ExternalAuth")).then_some(kind)
    };
    for (index, first) in super::rules::duplicates(items(filters), once) {
        let message = format!("is another {} filter beside [{first}]", of(&items(filters)[index], "type"));
        check.report(&format!("[{index}]"), Code::FilterRepeated, message, None);
    }
}

fn redirect_or_rewrite<'v>(filters: &'v Value, check: &mut Checker<'v>) {
    let first = |kind| items(filters).iter().position(|filter| of(filter, "type") == kind);
    if let (Some(_), Some(rewrite)) = (first("RequestRedirect"), first("URLRewrite")) {
        check.broken(&format!("[{rewrite}]"), Code::RedirectAndRewrite);
    }
}

fn percent_or_fraction<'v>(mirror: &'v Value, check: &mut Checker<'v>) {
    if has(mirror, "percent") && has(mirror, "fraction") {
        check.broken(".fraction", Code::MirrorShareTwice);
    }
}

fn at_most_one<'v>(fraction: &'v Value, check: &mut Checker<'v>) {
    let part = |field| fraction.get(field).and_then(Value::as_i64);
    if part("numerator") > part("denominator") {
        check.broken(".numerator", Code::FractionAboveOne);
    }
}

fn path_change_fits_type<'v>(change: &'v Value, check: &mut Checker<'v>) {
    for (kind, field) in
        [("ReplaceFullPath", "replaceFullPath"), ("ReplacePrefixMatch", "replacePrefixMatch")]
    {
        match (of(change, "type") == kind, has(change, field)) {
            (true, false) => check.broken(&format!(".{field}"), Code::PathChangeIncomplete),
            (false, true) => check.broken(&format!(".{field}"), Code::PathChangeOfOtherType),
            _ => {}
        }
    }
}

fn wildcard_alone<'v>(values: &'v Value, check: &mut Checker<'v>) {
    let values = items(values);
    if let (Some(index), true) = (values.iter().position(|value| value == "*"), values.len() > 1) {
        check.broken(&format!("[{index}]"), Code::WildcardNotAlone);
    }
}

fn auth_fits_protocol<'v>(auth: &'v Value, check: &mut Checker<'v>) {
    for (protocol, settings) in [("GRPC", "grpc"), ("HTTP", "http")] {
        if (of(auth, "protocol") == protocol) != has(auth, settings) {
            check.broken(&format!(".{settings}"), Code::AuthOfOtherProtocol);
        }
    }
}
