//! `--limit name=value`: every limit of the proxy by the name of its field.

use std::fmt::Display;
use std::str::FromStr;

use ringway_core::limits::Limits;

use super::units;

/// Sets one limit, said as `name=value`.
pub(crate) fn set(limits: &mut Limits, said: &str) -> Result<(), String> {
    let (name, value) = said
        .split_once('=')
        .ok_or_else(|| format!("`{said}` is no limit; write name=value, such as header_bytes_max=64KiB"))?;
    let limit = LIMITS.iter().find(|limit| limit.name == name).ok_or_else(|| unknown(name))?;
    (limit.set)(limits, value).map_err(|reason| format!("{name}: {reason}"))
}

/// Every limit with its default, one a line: for `ringway run --help`.
pub(crate) fn listed() -> String {
    let defaults = Limits::default();
    let width = LIMITS.iter().map(|limit| limit.name.len()).max().unwrap_or(0);
    LIMITS.iter().map(|limit| format!("  {:width$}  {}\n", limit.name, (limit.shown)(&defaults))).collect()
}

struct Limit {
    name: &'static str,
    set: fn(&mut Limits, &str) -> Result<(), String>,
    shown: fn(&Limits) -> String,
}

macro_rules! limits {
    ($($name:ident: $unit:ident,)*) => {
        &[$(Limit {
            name: stringify!($name),
            set: |limits, value| {
                limits.$name = $unit::parse(value)?;
                Ok(())
            },
            shown: |limits| $unit::show(limits.$name),
        }),*]
    };
}

const LIMITS: &[Limit] = limits! {
    header_bytes_max: size,
    header_count_max: count,
    request_line_bytes_max: size,
    header_read_timeout: time,
    idle_timeout: time,
    body_idle_timeout: time,
    response_header_timeout: time,
    stream_idle_timeout: time,
    handshake_timeout: time,
    connections_max: count,
    connections_per_client_max: count,
    requests_per_connection_max: count,
    http2_streams_max: count,
    http2_stream_window: size,
    http2_connection_window: size,
    http2_resets_max: count,
    replay_bytes_max: size,
    mirrors_max: count,
    upstream_idle_connections_max: count,
    upstream_idle_timeout: time,
    linger_bytes_max: size,
    linger_timeout: time,
    requests_max: count,
    udp_sessions_max: count,
    udp_session_idle_timeout: time,
};

fn unknown(name: &str) -> String {
    // 0.8 takes in a missing word and swapped letters, but not a name that only ends alike.
    let near = |limit: &&Limit| strsim::jaro_winkler(limit.name, name) > 0.8 || limit.name.contains(name);
    let near: Vec<&str> = LIMITS.iter().filter(near).map(|limit| limit.name).collect();
    let names = if near.is_empty() { LIMITS.iter().map(|limit| limit.name).collect() } else { near };
    let question = if names.len() == LIMITS.len() { "the limits are" } else { "did you mean" };
    format!("`{name}` is no limit; {question} {}", names.join(", "))
}

mod size {
    use super::*;

    pub(super) fn parse<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
        let bytes = units::bytes(text)?;
        T::try_from(bytes).map_err(|_| format!("`{text}` is more than this limit can be"))
    }

    pub(super) fn show<T: Copy + TryInto<u64>>(value: T) -> String {
        let bytes = value.try_into().unwrap_or(u64::MAX);
        match bytes {
            _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
            _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
            _ => bytes.to_string(),
        }
    }
}

mod count {
    use super::*;

    pub(super) fn parse<T: FromStr + Bounded>(text: &str) -> Result<T, String> {
        if text == "none" {
            return Ok(T::MAX);
        }
        text.parse().map_err(|_| format!("`{text}` is no count; write a number, or none for no limit"))
    }

    pub(super) fn show<T: Display + PartialEq + Bounded>(value: T) -> String {
        if value == T::MAX { "none".to_owned() } else { value.to_string() }
    }

    pub(super) trait Bounded {
        const MAX: Self;
    }

    macro_rules! bounded {
        ($($kind:ty),*) => {$(impl Bounded for $kind { const MAX: Self = <$kind>::MAX; })*};
    }

    bounded!(u32, u64, usize);
}

mod time {
    use std::time::Duration;

    use super::*;

    pub(super) fn parse(text: &str) -> Result<Duration, String> {
        let time = units::duration(text)?;
        if time.is_zero() {
            return Err("a timeout of zero would end everything at once; for none, say a long one".to_owned());
        }
        Ok(time)
    }

    pub(super) fn show(value: Duration) -> String {
        let seconds = value.as_secs();
        match seconds {
            _ if value.subsec_nanos() > 0 => format!("{}ms", value.as_millis()),
            _ if seconds >= 3600 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
            _ if seconds >= 60 && seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
            _ => format!("{seconds}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_limit_can_be_set_and_shows_as_it_is_written() {
        let shown = format!("{:?}", Limits::default());
        let fields = shown.matches(": ").count();
        assert_eq!(LIMITS.len(), fields, "a limit without a name: {shown}");
        for limit in LIMITS {
            let default = Limits::default();
            let mut again = default.clone();
            (limit.set)(&mut again, &(limit.shown)(&default)).unwrap();
            assert_eq!(again, default, "{}", limit.name);
        }
    }

    #[test]
    fn limits_are_said_by_name_with_their_units() {
        let mut limits = Limits::default();
        for said in ["header_bytes_max=8KiB", "idle_timeout=1m30s", "connections_max=7", "requests_max=none"]
        {
            set(&mut limits, said).unwrap();
        }
        assert_eq!(limits.header_bytes_max, 8192);
        assert_eq!(limits.idle_timeout, Duration::from_secs(90));
        assert_eq!((limits.connections_max, limits.requests_max), (7, usize::MAX));
        assert_eq!(Limits { header_bytes_max: 65536, ..Limits::default() }, Limits::default());
    }

    #[test]
    fn an_unknown_limit_is_answered_with_its_neighbours() {
        for (said, expected) in [
            ("header_byte_max=1", "did you mean header_bytes_max"),
            ("udp=1", "did you mean udp_sessions_max, udp_session_idle_timeout"),
            ("zzz=1", "the limits are header_bytes_max, header_count_max"),
            ("header_bytes_max", "write name=value"),
            ("idle_timeout=10", "idle_timeout: `10` has no unit"),
            ("idle_timeout=0", "a timeout of zero"),
            ("http2_stream_window=5GiB", "more than this limit can be"),
            ("connections_max=-1", "no count"),
        ] {
            let error = set(&mut Limits::default(), said).unwrap_err();
            assert!(error.contains(expected), "{said}: {error}");
        }
    }
}
