//! The forms that texts have: names, hostnames, header fields, durations. Each is a predicate with the words
//! for a message.
//!
//! They accept exactly what the patterns of the official definitions accept, oddities included: a form that
//! is stricter would refuse what a cluster takes.

/// A form: what it is called, and whether a text has it.
pub(super) struct Form {
    /// Completes "this is not …".
    pub(super) called: &'static str,
    pub(super) fits: fn(&str) -> bool,
}

pub(super) const DNS_LABEL: Form =
    Form { called: "a DNS label (lower-case letters, digits and `-`, such as `web-1`)", fits: dns_label };
pub(super) const OPTIONAL_DNS_LABEL: Form = Form {
    called: "empty, or a DNS label (lower-case letters, digits and `-`, such as `web-1`)",
    fits: |text| text.is_empty() || dns_label(text),
};
pub(super) const DNS_NAME: Form = Form {
    called: "a DNS name (lower-case letters, digits, `-` and `.`, such as `example.com`)",
    fits: dns_name,
};
pub(super) const HOSTNAME: Form =
    Form { called: "a hostname (such as `example.com` or `*.example.com`, in lower case)", fits: hostname };
pub(super) const GROUP: Form =
    Form { called: "an API group (empty, or a DNS name such as `example.com`)", fits: group };
pub(super) const KIND: Form = Form { called: "a kind (a word such as `Service`)", fits: kind };
pub(super) const CONTROLLER_NAME: Form = Form {
    called: "a controller name (a DNS name and a path, such as `example.com/gateway`)",
    fits: controller_name,
};
pub(super) const PROTOCOL: Form =
    Form { called: "a protocol (such as `HTTP`, or `example.com/proto`)", fits: protocol };
pub(super) const ADDRESS_TYPE: Form = Form {
    called: "an address type (IPAddress, Hostname, NamedAddress, or `example.com/type`)",
    fits: address_type,
};
pub(super) const HEADER_NAME: Form =
    Form { called: "an HTTP token (letters, digits and !#$%&'*+-.^_`|~)", fits: header_name };
pub(super) const HEADER_VALUE: Form = Form {
    called: "a header value (visible ASCII, with single spaces or tabs only between words)",
    fits: header_value,
};
pub(super) const DURATION: Form =
    Form { called: "a duration (such as `10s`, `500ms` or `1h30m`)", fits: |text| duration(text).is_some() };
pub(super) const ORIGIN: Form =
    Form { called: "an origin (`*`, or such as `https://*.example.com:8443`)", fits: origin };
pub(super) const PATH: Form = Form { called: "a path of URI characters", fits: path_characters };
pub(super) const LABEL_KEY: Form =
    Form { called: "a label key (such as `app`, or `example.com/app`)", fits: label_key };
pub(super) const LABEL_VALUE: Form = Form {
    called: "a label value (letters, digits, `-`, `_` and `.` between letters or digits)",
    fits: label_value,
};
pub(super) const WELL_KNOWN_CAS: Form =
    Form { called: "`System` or a name with a domain (such as `example.com/roots`)", fits: well_known_cas };
pub(super) const URI: Form =
    Form { called: "an absolute URI (such as `spiffe://example.com/web`)", fits: uri };
pub(super) const DATA_KEY: Form =
    Form { called: "a key of letters, digits, `-`, `_` and `.`", fits: data_key };

fn alphanumeric_ends(text: &str, inner: impl Fn(u8) -> bool, end: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    end(*first) && end(*last) && bytes.iter().all(|byte| inner(*byte))
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// A label without the limit to 63 characters, which the definitions state apart.
fn label(text: &str) -> bool {
    alphanumeric_ends(text, |byte| lower(byte) || byte == b'-', lower)
}

pub(super) fn dns_label(text: &str) -> bool {
    text.len() <= 63 && label(text)
}

pub(super) fn dns_name(text: &str) -> bool {
    text.split('.').all(label)
}

pub(super) fn hostname(text: &str) -> bool {
    dns_name(text.strip_prefix("*.").unwrap_or(text))
}

fn group(text: &str) -> bool {
    text.is_empty() || dns_name(text)
}

fn kind(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && alphanumeric_ends(
            text,
            |byte| byte.is_ascii_alphanumeric() || byte == b'-',
            |byte| byte.is_ascii_alphanumeric(),
        )
}

fn controller_path(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn controller_name(text: &str) -> bool {
    text.split_once('/').is_some_and(|(domain, path)| dns_name(domain) && controller_path(path))
}

/// The official pattern is anchored on one side only, so that anything may come before the last label of the
/// domain.
fn protocol(text: &str) -> bool {
    let word = alphanumeric_ends(
        text,
        |byte| byte.is_ascii_alphanumeric() || byte == b'-',
        |byte| byte.is_ascii_alphanumeric(),
    );
    let qualified = text.rsplit_once('/').is_some_and(|(domain, name)| {
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        named && domain.bytes().next_back().is_some_and(lower)
    });
    word || qualified
}

/// As for protocols: the anchors of the official pattern bind to its first and last alternative.
fn address_type(text: &str) -> bool {
    let qualified = text
        .match_indices('/')
        .any(|(at, _)| text[..at].bytes().next_back().is_some_and(lower) && controller_path(&text[at + 1..]));
    text.starts_with("Hostname") || text.contains("IPAddress") || text.contains("NamedAddress") || qualified
}

fn header_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn header_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let space = |byte: u8| byte == b' ' || byte == b'\t';
    alphanumeric_ends(text, |byte| byte.is_ascii_graphic() || space(byte), |byte| byte.is_ascii_graphic())
        && !bytes.windows(2).any(|pair| space(pair[0]) && space(pair[1]))
}

/// A duration of the Gateway API in milliseconds: one to four numbers of up to five digits, each with a unit.
pub(super) fn duration(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0u64;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, after) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
            .iter()
            .find_map(|(unit, factor)| Some((factor, rest.strip_prefix(unit)?)))?;
        total += number * unit;
        rest = after;
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

fn origin(text: &str) -> bool {
    if text == "*" {
        return true;
    }
    let Some(authority) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return false;
    };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let port_fits = port
        .is_none_or(|port| (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()));
    let labels = |host: &str| {
        host.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
    };
    port_fits && (host == "*" || labels(host.strip_prefix("*.").unwrap_or(host)))
}

pub(super) fn path_characters(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fits = match byte {
            b'%' => {
                let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
                hex(bytes.next()) && hex(bytes.next())
            }
            _ => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte),
        };
        if !fits {
            return false;
        }
    }
    !text.is_empty()
}

fn qualified_name(text: &str) -> bool {
    text.len() <= 63 && !text.is_empty() && label_value(text)
}

fn label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((domain, name)) => domain.len() < 253 && dns_name(domain) && qualified_name(name),
        None => qualified_name(text),
    }
}

fn label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.is_empty() || alphanumeric_ends(text, inner, |byte| byte.is_ascii_alphanumeric())
}

fn well_known_cas(text: &str) -> bool {
    text == "System"
        || text.split_once('/').is_some_and(|(domain, name)| dns_name(domain) && qualified_name(name))
}

fn uri(text: &str) -> bool {
    text.split_once(':').is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !scheme.contains(['/', '?', '#']) && rest.starts_with("//")
    })
}

fn data_key(text: &str) -> bool {
    !text.is_empty()
        && !matches!(text, "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// `\.?` and then identifiers with dots between them.
pub(super) fn grpc_service(text: &str) -> bool {
    text.strip_prefix('.').unwrap_or(text).split('.').all(grpc_method)
}

pub(super) fn grpc_method(text: &str) -> bool {
    let first = |first: char| first.is_ascii_alphabetic() || first == '_';
    text.starts_with(first) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_accept_and_refuse_as_the_official_patterns_do() {
        type Case = (&'static Form, &'static [&'static str], &'static [&'static str]);
        let cases: &[Case] = &[
            (&DNS_LABEL, &["a", "a-b", "0"], &["", "-a", "a-", "A", "a.b", "a_b"]),
            (&DNS_NAME, &["a", "a.b-c.d", "1.2.3.4"], &["", ".", "a.", ".a", "a..b", "*.a", "A.b", "a.-b"]),
            (&HOSTNAME, &["a.b", "*.a", "*.a.b"], &["*", "*.", "a.*", "**.a", "*a.b", "Ex.com", "a:80"]),
            (&GROUP, &["", "a.b"], &["A", "a/b"]),
            (&KIND, &["Service", "a-b", "X1"], &["", "1X", "a-", "a.b"]),
            (&CONTROLLER_NAME, &["a.b/c", "a/b/c:d"], &["a", "a/", "/b", "A/b", "a/b?c"]),
            (&PROTOCOL, &["HTTP", "a.b/C", "X a.b/C", "h2-c"], &["", "-a", "a/", "a/b-c", "A/", "a b"]),
            (
                &ADDRESS_TYPE,
                &["IPAddress", "xIPAddressx", "Hostname", "HostnameX", "NamedAddress", "a.b/c", "A a/b"],
                &["", "Other", "xHostname", "/a", "A/b"],
            ),
            (&HEADER_NAME, &["x-a", "!#$%&'*+-.^_`|~0Z"], &["", "a b", "a:", "\u{e9}", ":authority"]),
            (&HEADER_VALUE, &["a", "a b", "a\tb", "\"q\""], &["", " a", "a ", "a  b", "a\nb", "\u{e9}"]),
            (
                &DURATION,
                &["0s", "10s", "1h30m", "500ms", "1h1m1s1ms", "99999h"],
                &["", "10", "s", "1.5s", "-1s", "100000s", "1h1h1h1h1h", "1d", "1s "],
            ),
            (
                &ORIGIN,
                &["*", "http://a", "https://*.a.b:8080", "http://*", "https://*:1", "http://A-b"],
                &[
                    "",
                    "a",
                    "ftp://a",
                    "http://",
                    "http://*.",
                    "http://a:",
                    "http://a:123456",
                    "http://a/",
                    "http://*a",
                ],
            ),
            (
                &PATH,
                &["/", "/a%2F", "a:@!$&'()*+,;=~"],
                &["", "/ ", "/%2", "/%zz", "/#", "/?", "/[", "/\u{e9}"],
            ),
            (&LABEL_KEY, &["a", "A_b.c", "a.b/c"], &["", "/a", "a/", "A.b/c", "a/b/c", "-a"]),
            (&LABEL_VALUE, &["", "a", "A_b.c-d"], &["-a", "a-", "a b", "a/b"]),
            (&WELL_KNOWN_CAS, &["System", "a.b/c"], &["", "system", "a", "a/"]),
            (&URI, &["a://", "spiffe://a/b"], &["", "a", "a:", "a:b", "://a", "a/b://c"]),
            (&DATA_KEY, &["tls.crt", "A_b-c"], &["", ".", "..", "a/b", "a b"]),
        ];
        for (form, good, bad) in cases {
            for text in *good {
                assert!((form.fits)(text), "{text:?} is {}", form.called);
            }
            for text in *bad {
                assert!(!(form.fits)(text), "{text:?} is not {}", form.called);
            }
        }
        let long = "a".repeat(64);
        assert!(!dns_label(&long) && !label_key(&long) && dns_name(&long));
    }

    #[test]
    fn durations_are_counted_in_milliseconds() {
        for (text, expected) in [("0s", 0), ("1h1m1s1ms", 3_661_001), ("5ms", 5), ("2m3s", 123_000)] {
            assert_eq!(duration(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn grpc_names_are_identifiers() {
        for good in ["a", "_a", "A.b_1", ".a.b"] {
            assert!(grpc_service(good), "{good}");
        }
        for bad in ["", ".", "a.", "1a", "a-b", "a..b", "a/b"] {
            assert!(!grpc_service(bad), "{bad}");
        }
        assert!(grpc_method("Echo") && !grpc_method("a.b") && !grpc_method(""));
    }
}
