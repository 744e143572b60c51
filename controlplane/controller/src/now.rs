//! The time, as conditions and reports state it: RFC 3339, to the second.

pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
