//! What a client is told when its request failed, and how the access log names it. Statuses, flags and details are Envoy's where it
//! has one, so that existing runbooks work. Names the limit or the cause; never an address or another internal detail.
//!
//! | failure | status | gRPC | flag | details |
//! |---|---|---|---|---|
//! | client gone | – | – | DC | `downstream_remote_disconnect` |
//! | client broke the protocol | 400, close | 13 | DPE | what it did |
//! | body too large | 413, close | 8 | – | `request_payload_too_large` |
//! | client sent nothing | 408, close | 4 | SI | `request_body_idle_timeout` |
//! | no endpoint | 503 | 14 | UH | `no_healthy_upstream` |
//! | cluster limit | 503 | 14 | UO | the limit's name |
//! | no connection | 503 | 14 | UF | `upstream_connect_failure` |
//! | no connection in time | 503 | 14 | UF | `upstream_connect_timeout` |
//! | TLS to the endpoint failed | 503 | 14 | UF | `upstream_tls_failure` |
//! | refused by the endpoint | 503 | 14 | UR | `upstream_refused_stream` |
//! | closed before it answered | 503 | 14 | UC | `upstream_connection_termination` |
//! | the same on a reused connection | 503 | 14 | UC | `upstream_closed_reused_connection` |
//! | closed while it answered | 502 | 14 | UC | `upstream_response_incomplete` |
//! | endpoint broke the protocol | 502 | 14 | UPE | `upstream_protocol_error` |
//! | attempt timed out | 504 | 4 | UT | `upstream_per_try_timeout` |
//! | status that was to be retried | that status | 14 | – | `via_upstream` |
//! | request timed out | 504 | 4 | DT | `request_timeout` |
//!
//! URX is added when retries were allowed and are used up.

use http::StatusCode;

use crate::decision::Answer;
use crate::failure::{Evidence, Failure, Flag, Flags, UpstreamCause};

/// gRPC's status codes that proxies use.
mod grpc {
    pub(super) const DEADLINE_EXCEEDED: u8 = 4;
    pub(super) const RESOURCE_EXHAUSTED: u8 = 8;
    pub(super) const INTERNAL: u8 = 13;
    pub(super) const UNAVAILABLE: u8 = 14;
}

/// How a failure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The status, if there still is somebody to tell.
    pub status: Option<StatusCode>,
    /// For gRPC clients.
    pub grpc_status: u8,
    /// Why, for the access log.
    pub flags: Flags,
    /// The same in words.
    pub details: &'static str,
    /// What the client sends cannot be understood any more, or is not wanted.
    pub close: bool,
}

impl Failure {
    /// How this failure is told; also for the log when a response had begun and can only be cut off.
    pub fn account(&self) -> Account {
        let tell = |status, grpc_status, flag: Option<Flag>, details| Account {
            status: Some(status),
            grpc_status,
            flags: flag.map(Flags::from).unwrap_or_default(),
            details,
            close: false,
        };
        let closing = |account| Account { close: true, ..account };
        match self {
            Self::ClientGone => Account {
                status: None,
                ..tell(
                    StatusCode::OK,
                    grpc::UNAVAILABLE,
                    Some(Flag::DownstreamConnectionTermination),
                    "downstream_remote_disconnect",
                )
            },
            Self::ClientProtocol(what) => closing(tell(
                StatusCode::BAD_REQUEST,
                grpc::INTERNAL,
                Some(Flag::DownstreamProtocolError),
                what,
            )),
            Self::BodyTooLarge { .. } => closing(tell(
                StatusCode::PAYLOAD_TOO_LARGE,
                grpc::RESOURCE_EXHAUSTED,
                None,
                "request_payload_too_large",
            )),
            Self::ClientIdle => closing(tell(
                StatusCode::REQUEST_TIMEOUT,
                grpc::DEADLINE_EXCEEDED,
                Some(Flag::StreamIdleTimeout),
                "request_body_idle_timeout",
            )),
            Self::NoEndpoint => unavailable(Flag::NoHealthyUpstream, "no_healthy_upstream"),
            Self::Overflow(limit) => unavailable(Flag::UpstreamOverflow, limit),
            Self::Upstream { evidence, cause, .. } => account_of_upstream(*evidence, *cause),
            Self::RequestTimeout => tell(
                StatusCode::GATEWAY_TIMEOUT,
                grpc::DEADLINE_EXCEEDED,
                Some(Flag::DurationTimeout),
                "request_timeout",
            ),
        }
    }
}

/// The answer to a request that failed; `None` when nobody is there to be answered. `retries_used_up`: see
/// [`Final::Exhausted`](crate::retry::Final::Exhausted).
pub fn answer_for(failure: &Failure, retries_used_up: bool) -> Option<Answer> {
    let account = failure.account();
    let mut answer = Answer::reply(account.status?, account.details).for_grpc(account.grpc_status);
    answer.body = crate::decision::AnswerBody::Text(account.details.into());
    answer.flags = account.flags;
    answer.close = account.close;
    if retries_used_up {
        answer.flags.insert(Flag::UpstreamRetryLimitExceeded);
    }
    Some(answer)
}

fn account_of_upstream(evidence: Evidence, cause: UpstreamCause) -> Account {
    let told = |status, grpc_status, flag: Flag, details| Account {
        status: Some(status),
        grpc_status,
        flags: Flags::from(flag),
        details,
        close: false,
    };
    match (cause, evidence) {
        (UpstreamCause::Connect, _) => {
            unavailable(Flag::UpstreamConnectionFailure, "upstream_connect_failure")
        }
        (UpstreamCause::ConnectTimeout, _) => {
            unavailable(Flag::UpstreamConnectionFailure, "upstream_connect_timeout")
        }
        (UpstreamCause::Tls, _) => unavailable(Flag::UpstreamConnectionFailure, "upstream_tls_failure"),
        (UpstreamCause::Closed, Evidence::Refused) => {
            unavailable(Flag::UpstreamRemoteReset, "upstream_refused_stream")
        }
        // Said apart: it is the race between our reuse and the server's idle timeout, to be cured by the latter.
        (UpstreamCause::Closed, Evidence::Unanswered { reused: true }) => {
            unavailable(Flag::UpstreamConnectionTermination, "upstream_closed_reused_connection")
        }
        (UpstreamCause::Closed, Evidence::Unsent | Evidence::Unanswered { reused: false }) => {
            unavailable(Flag::UpstreamConnectionTermination, "upstream_connection_termination")
        }
        (UpstreamCause::Closed, Evidence::Answered) => told(
            StatusCode::BAD_GATEWAY,
            grpc::UNAVAILABLE,
            Flag::UpstreamConnectionTermination,
            "upstream_response_incomplete",
        ),
        (UpstreamCause::Protocol, _) => told(
            StatusCode::BAD_GATEWAY,
            grpc::UNAVAILABLE,
            Flag::UpstreamProtocolError,
            "upstream_protocol_error",
        ),
        (UpstreamCause::Timeout, _) => told(
            StatusCode::GATEWAY_TIMEOUT,
            grpc::DEADLINE_EXCEEDED,
            Flag::UpstreamRequestTimeout,
            "upstream_per_try_timeout",
        ),
        (UpstreamCause::Status(status), _) => Account {
            status: Some(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)),
            grpc_status: grpc::UNAVAILABLE,
            flags: Flags::default(),
            details: "via_upstream",
            close: false,
        },
    }
}

fn unavailable(flag: Flag, details: &'static str) -> Account {
    Account {
        status: Some(StatusCode::SERVICE_UNAVAILABLE),
        grpc_status: grpc::UNAVAILABLE,
        flags: Flags::from(flag),
        details,
        close: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::SocketAddr;

    fn upstream(evidence: Evidence, cause: UpstreamCause) -> Failure {
        Failure::Upstream { endpoint: SocketAddr::from(([192, 0, 2, 7], 8080)), evidence, cause }
    }

    #[test]
    fn every_failure_is_told_as_envoy_tells_it() {
        use Evidence::{Answered, Refused, Unanswered, Unsent};
        use UpstreamCause::{Closed, Connect, ConnectTimeout, Protocol, Status, Timeout, Tls};
        let table = [
            (Failure::ClientProtocol("bad_chunk"), 400, 13, "DPE", "bad_chunk"),
            (Failure::BodyTooLarge { limit: 1 }, 413, 8, "-", "request_payload_too_large"),
            (Failure::ClientIdle, 408, 4, "SI", "request_body_idle_timeout"),
            (Failure::NoEndpoint, 503, 14, "UH", "no_healthy_upstream"),
            (Failure::Overflow("requests_max"), 503, 14, "UO", "requests_max"),
            (upstream(Unsent, Connect), 503, 14, "UF", "upstream_connect_failure"),
            (upstream(Unsent, ConnectTimeout), 503, 14, "UF", "upstream_connect_timeout"),
            (upstream(Unsent, Tls), 503, 14, "UF", "upstream_tls_failure"),
            (upstream(Refused, Closed), 503, 14, "UR", "upstream_refused_stream"),
            (upstream(Unsent, Closed), 503, 14, "UC", "upstream_connection_termination"),
            (
                upstream(Unanswered { reused: false }, Closed),
                503,
                14,
                "UC",
                "upstream_connection_termination",
            ),
            (
                upstream(Unanswered { reused: true }, Closed),
                503,
                14,
                "UC",
                "upstream_closed_reused_connection",
            ),
            (upstream(Answered, Closed), 502, 14, "UC", "upstream_response_incomplete"),
            (upstream(Answered, Protocol), 502, 14, "UPE", "upstream_protocol_error"),
            (upstream(Unanswered { reused: true }, Timeout), 504, 4, "UT", "upstream_per_try_timeout"),
            (upstream(Answered, Status(503)), 503, 14, "-", "via_upstream"),
            (Failure::RequestTimeout, 504, 4, "DT", "request_timeout"),
        ];
        for (failure, status, grpc_status, flags, details) in table {
            let answer = answer_for(&failure, false).expect("somebody is there");
            let told = (answer.status.as_u16(), answer.grpc_status, answer.flags.to_string(), answer.details);
            assert_eq!(told, (status, Some(grpc_status), flags.to_owned(), details), "{failure}");
        }
    }

    #[test]
    fn nobody_is_answered_when_the_client_is_gone() {
        assert_eq!(answer_for(&Failure::ClientGone, false), None);
        assert_eq!(Failure::ClientGone.account().flags.to_string(), "DC");
    }

    #[test]
    fn retries_used_up_are_named_and_the_endpoint_is_not() {
        let failure = upstream(Evidence::Unsent, UpstreamCause::Connect);
        let answer = answer_for(&failure, true).expect("somebody is there");
        assert_eq!(answer.flags.to_string(), "UF,URX");
        assert!(!format!("{answer:?}").contains("192.0.2.7"));
    }

    #[test]
    fn the_connection_is_closed_when_what_follows_is_not_understood_or_not_wanted() {
        for failure in [Failure::ClientProtocol("x"), Failure::BodyTooLarge { limit: 1 }, Failure::ClientIdle]
        {
            assert!(failure.account().close);
        }
        assert!(!Failure::NoEndpoint.account().close);
    }
}
