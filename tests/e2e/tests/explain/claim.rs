//! What `ringway explain -o json` says, and what it comes to for somebody at a socket.

use serde_json::Value;

/// Name and value; names in lower case.
pub(crate) type Fields = Vec<(String, String)>;

/// What stands in an explanation for a value that nobody can foresee.
const DRAWN: &str = "(drawn for each request)";

/// What may come of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A backend got it, and its answer came back.
    Forwarded { service: String, request: Request, status: u16, answer: Fields },
    /// The gateway answered.
    Answered { status: u16, grpc_status: Option<String>, answer: Fields },
    /// There was no TLS for this server name.
    NoHandshake,
}

/// A request as a peer got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) authority: String,
    pub(crate) target: String,
    pub(crate) fields: Fields,
}

/// A copy that is claimed.
#[derive(Clone, Debug)]
pub(crate) struct Copied {
    pub(crate) service: String,
    /// Of every request, not of a share.
    pub(crate) always: bool,
    pub(crate) request: Request,
}

/// One thing that may come of a request, as it is claimed.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) outcome: Outcome,
    pub(crate) copies: Vec<Copied>,
}

/// All that may come of it: one for each backend with a share, or the only one there is.
pub(crate) fn claims(explained: &Value, peer_answers: &Fields) -> Vec<Claim> {
    let verdict = &explained["verdict"];
    let backends = explained["backends"].as_array().into_iter().flatten();
    let with_share: Vec<&Value> = backends.filter(|backend| backend["weight"] != 0).collect();
    let verdicts: Vec<&Value> = match with_share.is_empty() {
        true => vec![verdict],
        false => {
            let drawn: Vec<_> = with_share.iter().filter(|backend| backend["drawn"] == true).collect();
            assert!(
                drawn.len() == 1 && drawn[0]["verdict"] == *verdict,
                "the verdict is another: {explained:#}"
            );
            with_share.iter().map(|backend| &backend["verdict"]).collect()
        }
    };
    verdicts.into_iter().map(|verdict| claim(verdict, peer_answers)).collect()
}

fn claim(verdict: &Value, peer_answers: &Fields) -> Claim {
    let outcome = match text(&verdict["does"]).as_str() {
        "forward" => Outcome::Forwarded {
            service: service(&verdict["cluster"]),
            request: request(&verdict["request"]),
            status: 200,
            answer: edited(peer_answers.clone(), &verdict["response"]),
        },
        "answer" => Outcome::Answered {
            status: verdict["status"].as_u64().expect("a status") as u16,
            grpc_status: verdict["grpcStatus"].as_u64().map(|status| status.to_string()),
            answer: comparable(fields(&verdict["fields"])),
        },
        "refuse" => {
            let details = text(&verdict["details"]);
            match details.strip_prefix("the request is refused: ") {
                Some(answer) => Outcome::Answered {
                    status: answer[..3].parse().expect("a status"),
                    grpc_status: None,
                    answer: vec![],
                },
                None => {
                    assert!(details.ends_with("the TLS handshake is refused"), "{details}");
                    Outcome::NoHandshake
                }
            }
        }
        other => panic!("{other} is not drawn"),
    };
    let copies = verdict["copies"].as_array().into_iter().flatten().map(|copy| Copied {
        service: service(&copy["cluster"]),
        always: matches!(&*text(&copy["fraction"]), "100%" | "1/1" | "4/4"),
        request: request(&copy["request"]),
    });
    Claim { outcome, copies: copies.collect() }
}

/// Does to a peer's answer what the explanation says.
fn edited(mut answer: Fields, edits: &Value) -> Fields {
    for edit in edits.as_array().expect("a list") {
        let (name, value) = (text(&edit["name"]), edit["value"].as_str().unwrap_or_default().to_owned());
        match &*text(&edit["do"]) {
            "set" => {
                answer.retain(|(other, _)| *other != name);
                answer.push((name, value));
            }
            "add" => answer.push((name, value)),
            "remove" => answer.retain(|(other, _)| *other != name),
            other => panic!("{other} is no edit"),
        }
    }
    comparable(answer)
}

fn request(it: &Value) -> Request {
    Request {
        method: text(&it["method"]),
        authority: text(&it["authority"]),
        target: text(&it["target"]),
        fields: comparable(fields(&it["fields"])),
    }
}

fn fields(it: &Value) -> Fields {
    let pairs = it.as_array().expect("a list").iter();
    pairs.map(|field| (text(&field["name"]), text(&field["value"]))).collect()
}

/// Fields without those that a codec writes, in an order that both protocols keep. What is drawn for each request is
/// said as in an explanation.
pub(crate) fn comparable(mut fields: Fields) -> Fields {
    let of_codec = ["host", "connection", "content-length", "transfer-encoding", "date"];
    fields.retain(|(name, _)| !of_codec.contains(&&**name));
    for (_, value) in fields.iter_mut().filter(|(name, _)| name == "x-request-id") {
        *value = DRAWN.to_owned();
    }
    fields.sort();
    fields
}

/// `Service/namespace/name/…`
fn service(cluster: &Value) -> String {
    text(cluster).split('/').nth(2).expect("the name of a Service").to_owned()
}

fn text(it: &Value) -> String {
    it.as_str().unwrap_or_else(|| panic!("{it} is no text")).to_owned()
}
