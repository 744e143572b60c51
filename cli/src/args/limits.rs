//! `--limit name=value`: every limit of the proxy by the name of its field.

use std::fmt::Display;
use std::str::FromStr;

use ringway_core::limits::Limits;

use super::units;

/// Sets limits, each said as `name=value`, each at most once: of two values one would be a mistake.
pub(crate) fn set_all(limits: &mut Limits, said: &[String]) -> Result<(), String> {
    for (index, one) in said.iter().enumerate() {
        let name = |said: &String| said.split('=').next().map(str::to_owned);
        if said[..index].iter().any(|earlier| name(earlier) == name(one)) {
            return Err(format!("{} is set twice", name(one).unwrap_or_default()));
        }
        set(limits, one)?;
    }
    Ok(())
}

/// Sets one limit, said as `name=value`.
fn set(limits: &mut Limits, said: &str) -> Result<(), String> {
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
    ($($name:ident: $unit:ident $least:literal..=$most:literal,)*) => {
        &[$(Limit {
            name: stringify!($name),
            set: |limits, value| {
                let new = $unit::parse(value)?;
                if new < $unit::parse($least)? {
                    return Err(format!("`{value}` is too little to work with; the least is {}", $least));
                }
                if new > $unit::parse($most)? {
                    return Err(format!("`{value}` is too much; the most is {}", $most));
                }
                limits.$name = new;
                Ok(())
            },
            shown: |limits| $unit::show(limits.$name),
        }),*]
    };
}

/// With the least and the most of each: below, nothing would work; above, it would be no limit, or more than its peers can
/// count (HTTP/2 windows end at 2³¹ - 1).
const LIMITS: &[Limit] = limits! {
    header_bytes_max: size "1KiB"..="16MiB",
    header_count_max: count "16"..="10000",
    request_line_bytes_max: size "64"..="16MiB",
    header_read_timeout: time "1ms"..="8760h",
    idle_timeout: time "1ms"..="8760h",
    body_idle_timeout: time "1ms"..="8760h",
    response_header_timeout: time "1ms"..="8760h",
    informational_max: count "0"..="1000",
    stream_idle_timeout: time "1ms"..="8760h",
    handshake_timeout: time "1ms"..="8760h",
    connections_max: count "1"..="none",
    connections_per_client_max: count "1"..="none",
    requests_per_connection_max: count "1"..="none",
    http2_streams_max: count "1"..="2147483647",
    http2_stream_window: size "1"..="2147483647",
    http2_connection_window: size "1"..="2147483647",
    http2_resets_max: count "1"..="100000",
    replay_bytes_max: size "0"..="1GiB",
    mirrors_max: count "0"..="none",
    upstream_idle_connections_max: count "0"..="none",
    upstream_idle_timeout: time "1ms"..="8760h",
    linger_bytes_max: size "0"..="1GiB",
    linger_timeout: time "1ms"..="8760h",
    requests_max: count "1"..="none",
    udp_sessions_max: count "1"..="none",
    udp_session_idle_timeout: time "1ms"..="8760h",
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
    fn a_limit_is_set_once() {
        let said = ["idle_timeout=1m", "requests_max=5", "idle_timeout=2m"].map(str::to_owned);
        let error = set_all(&mut Limits::default(), &said).unwrap_err();
        assert_eq!(error, "idle_timeout is set twice");
        set_all(&mut Limits::default(), &said[..2]).unwrap();
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
            ("connections_max=0", "`0` is too little to work with; the least is 1"),
            ("header_count_max=none", "`none` is too much; the most is 10000"),
            ("header_bytes_max=1", "the least is 1KiB"),
            ("header_bytes_max=17GiB", "the most is 16MiB"),
            ("header_bytes_max=64K", "`K` is no unit of size"),
            ("http2_stream_window=2147483648", "the most is 2147483647"),
            ("idle_timeout=9000h", "the most is 8760h"),
            ("idle_timeout=1d", "`d` is no unit of time"),
            ("idle_timeout=", "a duration is missing"),
        ] {
            let error = set(&mut Limits::default(), said).unwrap_err();
            assert!(error.contains(expected), "{said}: {error}");
        }
    }
}
