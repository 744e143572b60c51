//! What only a running cluster can tell of a Gateway: where it is reached, and whether its proxies have what they
//! should. Pure.
//!
//! Translation says what a Gateway would be; `Programmed` holds once an address is there and proxies acknowledged.
//! Proxies that come and go never take it back.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::provision::addresses::Addresses;

/// How far a Gateway's proxies are with what is published for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The proxies that have all of it.
    pub have: BTreeSet<String>,
    /// The proxies that are connected and do not have it yet.
    pub lag: BTreeSet<String>,
    /// What proxies refused, and why.
    pub refused: BTreeSet<String>,
    /// Listeners without a socket, and why.
    pub unbound: BTreeSet<(String, String)>,
}

impl Progress {
    /// Whether there is nothing to wait for.
    pub fn is_complete(&self) -> bool {
        self.lag.is_empty() && !self.have.is_empty()
    }
}

/// Completes what translation says of a Gateway. `was_programmed`: its status says so already.
pub fn complete(status: &mut Value, addresses: &Addresses, progress: &Progress, was_programmed: bool) {
    status["addresses"] = json!(addresses.reached);
    for (listener, why) in &progress.unbound {
        unbound(status, listener, why);
    }
    let wrong = if let Some(missing) = &addresses.missing {
        Some(missing.clone())
    } else if !progress.refused.is_empty() {
        let refused: Vec<&str> = progress.refused.iter().take(5).map(String::as_str).collect();
        Some((
            "Invalid",
            format!("Proxies refuse a part of it and keep what they had: {}", refused.join("; ")),
        ))
    } else if !progress.have.is_empty() || was_programmed {
        None
    } else if progress.lag.is_empty() {
        Some(("Pending", "No proxy of the Gateway has connected yet".to_owned()))
    } else {
        Some(("Pending", format!("Proxies have not acknowledged yet: {}", names(&progress.lag))))
    };
    let Some(programmed) =
        condition(status, "Programmed").filter(|programmed| programmed["status"] == "True")
    else {
        return;
    };
    match wrong {
        Some((reason, message)) => {
            programmed["status"] = json!("False");
            programmed["reason"] = json!(reason);
            programmed["message"] = json!(message);
        }
        None if !progress.lag.is_empty() && !progress.have.is_empty() => {
            programmed["message"] =
                json!(format!("The Gateway is configured; proxies that lag: {}", names(&progress.lag)));
        }
        None => {}
    }
}

/// Whether a status says that its Gateway is programmed.
pub fn is_programmed(status: &Value) -> bool {
    let conditions = status.get("conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|found| found["type"] == "Programmed" && found["status"] == "True")
}

fn unbound(status: &mut Value, listener: &str, why: &str) {
    let listeners = status.get_mut("listeners").and_then(Value::as_array_mut);
    let found = listeners.into_iter().flatten().find(|found| found["name"] == listener);
    let Some(found) = found else { return };
    for (kind, reason) in [("Accepted", "PortUnavailable"), ("Programmed", "Invalid")] {
        if let Some(condition) = condition(found, kind) {
            condition["status"] = json!("False");
            condition["reason"] = json!(reason);
            condition["message"] = json!(format!("A proxy cannot listen: {why}"));
        }
    }
}

fn condition<'v>(value: &'v mut Value, kind: &str) -> Option<&'v mut Value> {
    let conditions = value.get_mut("conditions").and_then(Value::as_array_mut)?;
    conditions.iter_mut().find(|condition| condition["type"] == kind)
}

fn names(pods: &BTreeSet<String>) -> String {
    const SHOWN_MAX: usize = 5;
    let mut text = pods.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    if pods.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", pods.len() - SHOWN_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(pods: &[&str]) -> BTreeSet<String> {
        pods.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn programmed_needs_an_address_and_a_proxy_that_has_it() {
        let none = Progress::default();
        let have = Progress { have: pods(&["a"]), ..Progress::default() };
        let lag = Progress { lag: pods(&["a"]), ..Progress::default() };
        let refused = Progress { refused: pods(&["listener x: no"]), ..have.clone() };
        for (missing, progress, was_programmed, expected) in [
            (Some("AddressNotAssigned"), &have, false, "AddressNotAssigned"),
            (None, &none, false, "Pending"),
            (None, &lag, false, "Pending"),
            (None, &have, false, "Programmed"),
            // Proxies that roll do not take it back.
            (None, &none, true, "Programmed"),
            (None, &lag, true, "Programmed"),
            (None, &refused, true, "Invalid"),
            (Some("AddressNotUsable"), &have, true, "AddressNotUsable"),
        ] {
            let mut status = json!({
                "conditions": [{"type": "Programmed", "status": "True", "reason": "Programmed", "message": "ok"}],
            });
            let missing = missing.map(|reason| (reason, "why".to_owned()));
            let addresses = Addresses { missing, ..Addresses::default() };
            complete(&mut status, &addresses, progress, was_programmed);
            assert_eq!(status["conditions"][0]["reason"], expected);
            assert_eq!(is_programmed(&status), expected == "Programmed");
        }
    }

    #[test]
    fn what_is_not_accepted_stays_so() {
        let programmed = json!({"type": "Programmed", "status": "False", "reason": "Invalid"});
        let mut status = json!({"conditions": [programmed]});
        complete(&mut status, &Addresses::default(), &Progress::default(), false);
        assert_eq!(status["conditions"][0], programmed);
    }

    #[test]
    fn a_listener_without_a_socket_says_so() {
        let mut status = json!({
            "listeners": [{"name": "web", "conditions": [{"type": "Accepted", "status": "True"}]}],
        });
        let unbound = [("web".to_owned(), "in use".to_owned())].into();
        let progress = Progress { unbound, ..Progress::default() };
        complete(&mut status, &Addresses::default(), &progress, false);
        assert_eq!(status["listeners"][0]["conditions"][0]["reason"], "PortUnavailable");
    }
}
