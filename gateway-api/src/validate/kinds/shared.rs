//! Shapes that several kinds share: names, references, selectors, ports.

use super::super::form::{self, DNS_LABEL, DNS_NAME};
use super::super::schema::Default::Text;
use super::super::schema::{
    Field, Shape, UNBOUNDED, defaulted, formed, integer, list, map, object, optional, required, ruled, text,
};
use super::rules;

pub(super) const GROUP: Shape = formed(0, 253, &form::GROUP);
pub(super) const KIND: Shape = formed(1, 63, &form::KIND);
pub(super) const OBJECT_NAME: Shape = text(1, 253);
pub(super) const NAMESPACE: Shape = formed(1, 63, &DNS_LABEL);
pub(super) const SECTION: Shape = formed(1, 253, &DNS_NAME);
pub(super) const HOSTNAME: Shape = formed(1, 253, &form::HOSTNAME);
pub(super) const PRECISE_HOSTNAME: Shape = formed(1, 253, &DNS_NAME);
pub(super) const PORT: Shape = integer(1, 65535);
pub(super) const DURATION: Shape = formed(0, UNBOUNDED, &form::DURATION);
pub(super) const LABEL_VALUE: Shape = formed(0, 63, &form::LABEL_VALUE);
pub(super) const ANY_TEXT: Shape = text(0, UNBOUNDED);
pub(super) const OPTIONS: Shape = map(&text(0, 4096), 16);

/// An object: its fields beside those that every object has. `spec` is checked, `status` is not: what a file
/// says of it is not read.
macro_rules! kind {
    ($($field:expr),* $(,)?) => {
        $crate::validate::schema::object(&[
            $crate::validate::schema::required("apiVersion", $crate::validate::schema::Shape::Any),
            $crate::validate::schema::required("kind", $crate::validate::schema::Shape::Any),
            $crate::validate::schema::optional("metadata", $crate::validate::kinds::METADATA),
            $crate::validate::schema::optional("status", $crate::validate::schema::Shape::Any),
            $($field),*
        ])
    };
}
pub(super) use kind;

/// A reference that must say group, kind and name.
pub(super) const LOCAL_REFERENCE: Shape =
    object(&[required("group", GROUP), required("kind", KIND), required("name", OBJECT_NAME)]);

/// A reference to a certificate, in a Secret unless it says otherwise.
pub(super) const SECRET_REFERENCE: Shape = object(&[
    defaulted("group", GROUP, Text("")),
    defaulted("kind", KIND, Text("Secret")),
    required("name", OBJECT_NAME),
    optional("namespace", NAMESPACE),
]);

/// A reference to CA certificates, which must say group and kind.
pub(super) const CA_REFERENCE: Shape = object(&[
    required("group", GROUP),
    required("kind", KIND),
    required("name", OBJECT_NAME),
    optional("namespace", NAMESPACE),
]);

pub(super) const BACKEND_GROUP: Field = defaulted("group", GROUP, Text(""));
pub(super) const BACKEND_KIND: Field = defaulted("kind", KIND, Text("Service"));

/// A reference to a backend, in a Service unless it says otherwise.
pub(super) const BACKEND: Shape = ruled(
    &[
        BACKEND_GROUP,
        BACKEND_KIND,
        required("name", OBJECT_NAME),
        optional("namespace", NAMESPACE),
        optional("port", PORT),
    ],
    &[rules::backend_port],
);

pub(super) const SELECTOR: Shape = object(&[
    optional("matchLabels", map(&ANY_TEXT, UNBOUNDED)),
    optional("matchExpressions", list(&EXPRESSION, 0, UNBOUNDED)),
]);

const EXPRESSION: Shape = object(&[
    required("key", ANY_TEXT),
    required("operator", ANY_TEXT),
    optional("values", list(&ANY_TEXT, 0, UNBOUNDED)),
]);
