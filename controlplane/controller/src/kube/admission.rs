//! Lets in proxies by the tokens of their pods.
//!
//! The API server says whose a token is. It must be made out for us and bound to a pod, and the pod must belong to the
//! Deployment that we made for a Gateway: that Gateway's configuration, and no other, the proxy may have.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DynamicObject, PostParams};
use kube::{Client, Error};
use ringway_config::GatewayKey;
use ringway_gateway_api::objects::Kind;
use tokio::sync::Semaphore;

use super::watch::resource;
use crate::provision::{TOKEN_AUDIENCE, name};
use crate::serve::{Admission, Admitted, Refused};

/// Tokens that are remembered; further ones are reviewed each time.
const REMEMBERED_MAX: usize = 8192;
/// How long the answer for a token holds: as long as a pod that was deleted may still come.
const HOLDS: Duration = Duration::from_secs(60);
/// Tokens that are reviewed at once.
const REVIEWS_MAX: usize = 16;
/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Asks the API server whose a token is.
#[expect(missing_debug_implementations, reason = "it holds tokens")]
pub struct TokenAdmission {
    client: Client,
    remembered: Mutex<HashMap<Box<str>, (Admitted, Instant)>>,
    reviews: Semaphore,
}

impl TokenAdmission {
    /// Nothing is remembered yet.
    pub fn new(client: Client) -> Self {
        Self { client, remembered: Mutex::default(), reviews: Semaphore::new(REVIEWS_MAX) }
    }

    fn recall(&self, token: &str, now: Instant) -> Option<Admitted> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (admitted, since) = remembered.get(token)?;
        (now < *since + HOLDS).then(|| admitted.clone())
    }

    fn remember(&self, token: &str, admitted: &Admitted, now: Instant) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, (_, since)| now < *since + HOLDS);
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(token.into(), (admitted.clone(), now));
        }
    }

    async fn review(&self, token: &str) -> Result<Admitted, Refused> {
        let spec =
            TokenReviewSpec { token: token.to_owned(), audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let reviewed = api.create(&PostParams::default(), &review).await.map_err(unknown)?;
        let bearer = bearer(&reviewed).map_err(Refused::Denied)?;
        let namespace = &*bearer.namespace;

        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pod = pods.get_metadata_opt(&bearer.pod).await.map_err(unknown)?;
        let pod = pod.map(|pod| pod.metadata).filter(|pod| pod.uid.as_deref() == Some(&bearer.pod_uid));
        let set =
            owner(pod.as_ref(), "ReplicaSet", "apps").ok_or_else(|| stranger(&bearer, "a ReplicaSet"))?;
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace);
        let set_there = sets.get_metadata_opt(&set.name).await.map_err(unknown)?.map(|set| set.metadata);
        let set_there = set_there.filter(|there| there.uid.as_deref() == Some(&set.uid));
        let deployment = owner(set_there.as_ref(), "Deployment", "apps");
        let deployment = deployment.ok_or_else(|| stranger(&bearer, "a Deployment"))?;
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let there = deployments.get_metadata_opt(&deployment.name).await.map_err(unknown)?;
        let there = there.map(|there| there.metadata);
        let there = there.filter(|there| there.uid.as_deref() == Some(&deployment.uid));
        let gateway = owner(there.as_ref(), "Gateway", "gateway.networking.k8s.io");
        let gateway = gateway.ok_or_else(|| stranger(&bearer, "a Gateway"))?;
        let gateways: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource(Kind::Gateway, "v1"));
        let object = gateways.get_opt(&gateway.name).await.map_err(unknown)?;
        if !made_for(object.as_ref(), &gateway, &deployment.name) {
            return Err(stranger(&bearer, "the Deployment that was made for a Gateway"));
        }
        Ok(Admitted {
            gateway: Some(GatewayKey::new(format!("{namespace}/{}", gateway.name))),
            pod: Some(bearer.pod.as_str().into()),
        })
    }
}

impl Admission for TokenAdmission {
    async fn admit(&self, token: Option<&str>) -> Result<Admitted, Refused> {
        let Some(token) = token.filter(|token| token.len() <= TOKEN_BYTES_MAX) else {
            return Err(Refused::Denied("the token of the proxy's pod is needed".to_owned()));
        };
        if let Some(admitted) = self.recall(token, Instant::now()) {
            return Ok(admitted);
        }
        let _permit = self
            .reviews
            .acquire()
            .await
            .map_err(|_closed| Refused::Unknown("the controller is stopping".to_owned()))?;
        let admitted = self.review(token).await?;
        self.remember(token, &admitted, Instant::now());
        Ok(admitted)
    }
}

/// The pod that a token is bound to.
#[derive(Debug, PartialEq, Eq)]
struct Bearer {
    namespace: String,
    pod: String,
    pod_uid: String,
}

fn bearer(reviewed: &TokenReview) -> Result<Bearer, String> {
    let status = reviewed.status.clone().unwrap_or_default();
    if status.authenticated != Some(true) {
        let why = status.error.unwrap_or_else(|| "it is not known".to_owned());
        return Err(format!("the token is not accepted: {why}"));
    }
    // A server that does not know of audiences says none; its tokens are good for everything.
    if !status.audiences.iter().flatten().any(|audience| audience == TOKEN_AUDIENCE) {
        return Err(format!("the token is not made out for {TOKEN_AUDIENCE}"));
    }
    let user = status.user.unwrap_or_default();
    let namespace = user.username.as_deref().and_then(|name| name.strip_prefix("system:serviceaccount:"));
    let namespace = namespace.and_then(|rest| rest.split(':').next());
    let namespace = namespace.ok_or("the token is not a ServiceAccount's")?.to_owned();
    let extra = |name: &str| extra(&user, name).ok_or("the token is not bound to a pod");
    Ok(Bearer {
        namespace,
        pod: extra("authentication.kubernetes.io/pod-name")?,
        pod_uid: extra("authentication.kubernetes.io/pod-uid")?,
    })
}

fn extra(user: &UserInfo, name: &str) -> Option<String> {
    user.extra.as_ref()?.get(name)?.first().cloned()
}

/// The controlling owner, if it is of this kind.
fn owner(metadata: Option<&ObjectMeta>, kind: &str, group: &str) -> Option<OwnerReference> {
    let owners = metadata?.owner_references.as_ref()?;
    let is_it = |owner: &&OwnerReference| {
        owner.controller == Some(true)
            && owner.kind == kind
            && owner.api_version.split_once('/').is_some_and(|(found, _)| found == group)
    };
    owners.iter().find(is_it).cloned()
}

/// Whether a Deployment of this name is the one that is made for the Gateway. Anyone who may make Deployments may say of one
/// that a Gateway owns it; nobody else has one of our name while ours is there.
fn made_for(gateway: Option<&DynamicObject>, owner: &OwnerReference, deployment: &str) -> bool {
    let gateway = gateway.filter(|there| there.metadata.uid.as_deref() == Some(&owner.uid));
    let class = gateway.and_then(|there| there.data.pointer("/spec/gatewayClassName")?.as_str());
    class.is_some_and(|class| name::base(&owner.name, class) == deployment)
}

fn stranger(bearer: &Bearer, what: &str) -> Refused {
    Refused::Denied(format!("pod {}/{} does not belong to {what} of ours", bearer.namespace, bearer.pod))
}

fn unknown(error: Error) -> Refused {
    match error {
        Error::Api(status) if status.code == 403 => {
            Refused::Unknown(format!("the controller may not ask: {}", status.message))
        }
        error => Refused::Unknown(format!("the API server cannot be asked: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reviewed(change: impl FnOnce(&mut Value)) -> Result<Bearer, String> {
        let mut review = json!({"spec": {}, "status": {
            "authenticated": true, "audiences": [TOKEN_AUDIENCE],
            "user": {"username": "system:serviceaccount:ns:web-ringway", "extra": {
                "authentication.kubernetes.io/pod-name": ["web-1"],
                "authentication.kubernetes.io/pod-uid": ["u"],
            }},
        }});
        change(&mut review["status"]);
        bearer(&serde_json::from_value(review).unwrap())
    }

    #[test]
    fn a_token_must_be_known_made_out_for_us_and_bound_to_a_pod() {
        let expected = Bearer { namespace: "ns".into(), pod: "web-1".into(), pod_uid: "u".into() };
        assert_eq!(reviewed(|_| {}), Ok(expected));
        for (change, expected) in [
            ((|status| status["authenticated"] = json!(false)) as fn(&mut Value), "not accepted"),
            (|status| status["audiences"] = json!([]), "made out"),
            (|status| status["audiences"] = json!(["other"]), "made out"),
            (|status| status["user"]["username"] = json!("admin"), "ServiceAccount"),
            (|status| status["user"]["extra"] = json!({}), "bound to a pod"),
        ] {
            let why = reviewed(change).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn a_deployment_must_be_the_one_that_is_made_for_the_gateway_that_owns_it() {
        let gateway: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "web", "uid": "u"}, "spec": {"gatewayClassName": "ringway"},
        }))
        .unwrap();
        let owner =
            |uid: &str| OwnerReference { name: "web".into(), uid: uid.into(), ..OwnerReference::default() };
        assert!(made_for(Some(&gateway), &owner("u"), "web-ringway"));
        assert!(!made_for(Some(&gateway), &owner("u"), "mine"));
        assert!(!made_for(Some(&gateway), &owner("other"), "web-ringway"));
        assert!(!made_for(None, &owner("u"), "web-ringway"));
    }

    #[test]
    fn only_the_controlling_owner_of_the_right_group_counts() {
        let of = |group: &str, controller: bool| -> ObjectMeta {
            let owner = json!({
                "apiVersion": format!("{group}/v1"), "kind": "Gateway", "name": "g", "uid": "u", "controller": controller,
            });
            serde_json::from_value(json!({"ownerReferences": [owner]})).unwrap()
        };
        let is_it = |metadata| owner(Some(&metadata), "Gateway", "gateway.networking.k8s.io").is_some();
        assert!(is_it(of("gateway.networking.k8s.io", true)));
        assert!(!is_it(of("gateway.networking.k8s.io", false)));
        assert!(!is_it(of("example.com", true)));
    }
}
