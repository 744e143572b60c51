//! Which replica writes statuses and provisions: the holder of a Lease. All replicas serve proxies.
//!
//! A holder that cannot renew stops leading before another may begin: it counts from when it asked, the others from
//! when they saw the answer. Clocks of different machines are never compared.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tokio::sync::watch;

/// The Lease's name.
const NAME: &str = "ringway-controller";
/// How long a Lease holds that is not renewed. With [`EVERY`] it bounds a takeover to 5 s.
const HOLDS: Duration = Duration::from_secs(4);
/// How often it is renewed, and looked at by those that wait.
const EVERY: Duration = Duration::from_millis(750);
/// How long a holder that cannot renew goes on.
const RENEW_WITHIN: Duration = Duration::from_secs(3);
/// How long the API server may take to answer before it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);

/// What was seen of a Lease, and since when.
#[derive(Debug)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

/// What to do about a Lease.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is ours: say so again.
    Renew,
    /// It is nobody's, or its holder is gone.
    Take,
    /// It is somebody else's.
    Wait,
}

/// Says by `leads` whether this replica leads, until nobody listens. A Lease that it holds then is given up.
pub async fn run(client: Client, namespace: &str, identity: &str, leads: watch::Sender<bool>) {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let mut seen: Option<Seen> = None;
    let mut renewed: Option<Instant> = None;
    loop {
        let asked = Instant::now();
        // Whoever leads stops on time, whatever the API server does.
        let stop = renewed.map(|renewed| renewed + RENEW_WITHIN).filter(|stop| *stop > asked);
        let until = stop.map_or(asked + ANSWER_WITHIN, |stop| stop.min(asked + ANSWER_WITHIN));
        let turn = turn(&api, identity, &mut seen, asked);
        match tokio::time::timeout_at(until.into(), turn).await {
            Ok(Ok(true)) => renewed = Some(asked),
            Ok(Ok(false)) => renewed = None,
            Ok(Err(error)) => tracing::warn!(%error, "the Lease cannot be had"),
            Err(_slow) => tracing::warn!("the API server takes too long to answer for the Lease"),
        }
        let lead = renewed.is_some_and(|renewed| renewed.elapsed() < RENEW_WITHIN);
        leads.send_if_modified(|leads| std::mem::replace(leads, lead) != lead);
        tokio::select! {
            () = tokio::time::sleep_until((asked + EVERY).into()) => {}
            () = leads.closed() => break,
        }
    }
    if renewed.is_some() {
        let _best_effort = tokio::time::timeout(EVERY, give_up(&api, identity)).await;
    }
}

/// One turn; whether the Lease is ours after it.
async fn turn(
    api: &Api<Lease>,
    identity: &str,
    seen: &mut Option<Seen>,
    now: Instant,
) -> Result<bool, Error> {
    let Some(mut lease) = api.get_opt(NAME).await? else {
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(renewed(None, identity)) };
        return ours(api.create(&PostParams::default(), &lease).await);
    };
    let spec = lease.spec.clone().unwrap_or_default();
    if seen.as_ref().is_none_or(|seen| seen.spec != spec) {
        *seen = Some(Seen { spec: spec.clone(), since: now });
    }
    let since = seen.as_ref().map_or(now, |seen| seen.since);
    if decide(&spec, identity, now.saturating_duration_since(since)) == Step::Wait {
        return Ok(false);
    }
    lease.spec = Some(renewed(Some(&spec), identity));
    // Against the state that was read: of two that take it, one does.
    ours(api.replace(NAME, &PostParams::default(), &lease).await)
}

fn ours(written: Result<Lease, Error>) -> Result<bool, Error> {
    match written {
        Ok(_) => Ok(true),
        Err(Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

async fn give_up(api: &Api<Lease>, identity: &str) -> Result<(), Error> {
    let mut lease = api.get(NAME).await?;
    if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(identity)) {
        spec.holder_identity = None;
        api.replace(NAME, &PostParams::default(), &lease).await?;
    }
    Ok(())
}

/// `unchanged`: for how long it has been seen to say the same.
fn decide(spec: &LeaseSpec, identity: &str, unchanged: Duration) -> Step {
    let holds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    match spec.holder_identity.as_deref() {
        Some(holder) if holder == identity => Step::Renew,
        None | Some("") => Step::Take,
        Some(_) if unchanged >= holds.map_or(HOLDS, Duration::from_secs) => Step::Take,
        Some(_) => Step::Wait,
    }
}

fn renewed(before: Option<&LeaseSpec>, identity: &str) -> LeaseSpec {
    let now = MicroTime(Timestamp::now());
    let same = before.filter(|before| before.holder_identity.as_deref() == Some(identity));
    let transitions = before.and_then(|before| before.lease_transitions).unwrap_or_default();
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(HOLDS.as_secs() as i32),
        acquire_time: same.map_or(Some(now.clone()), |same| same.acquire_time.clone()),
        renew_time: Some(now),
        lease_transitions: Some(if same.is_some() { transitions } else { transitions.saturating_add(1) }),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_its_holder_has_been_silent_for_as_long_as_it_holds() {
        let of = |holder: Option<&str>| LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(4),
            ..LeaseSpec::default()
        };
        let after = Duration::from_secs;
        assert_eq!(decide(&of(Some("us")), "us", after(60)), Step::Renew);
        assert_eq!(decide(&of(Some("they")), "us", after(3)), Step::Wait);
        assert_eq!(decide(&of(Some("they")), "us", after(4)), Step::Take);
        assert_eq!(decide(&of(None), "us", after(0)), Step::Take);
        assert_eq!(decide(&of(Some("")), "us", after(0)), Step::Take);
    }

    #[test]
    fn a_holder_stops_before_another_begins_and_a_takeover_takes_at_most_five_seconds() {
        assert!(RENEW_WITHIN < HOLDS);
        assert!(EVERY + ANSWER_WITHIN < RENEW_WITHIN, "one slow answer costs nothing");
        assert!(HOLDS + EVERY < Duration::from_secs(5));
    }

    #[test]
    fn a_renewal_keeps_since_when_it_is_held() {
        let first = renewed(None, "us");
        let second = renewed(Some(&first), "us");
        assert_eq!((&second.acquire_time, second.lease_transitions), (&first.acquire_time, Some(1)));
        assert_eq!(renewed(Some(&second), "they").lease_transitions, Some(2));
    }
}
