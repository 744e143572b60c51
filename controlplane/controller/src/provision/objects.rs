//! The objects of one Gateway, typed as they are decided and untyped as they are sent.

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ApiResource;
use serde::Serialize;
use serde_json::Value;

/// The Gateway for which objects are made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Its namespace, and theirs.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// What there should be for a Gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The Gateway.
    pub owner: Owner,
    /// As whom the proxies speak to the controller.
    pub service_account: ServiceAccount,
    /// The authorities by which they know it.
    pub config_map: ConfigMap,
    /// One for an address that is to be found, one for each that is asked for.
    pub services: Vec<Service>,
    /// The proxies.
    pub deployment: Deployment,
    /// Growing and shrinking, if asked for.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// What a drained node may take away, if asked for.
    pub disruption_budget: Option<PodDisruptionBudget>,
}

macro_rules! made {
    ($($kind:ident,)*) => {
        /// A kind of object that is made for Gateways, in the order in which they are made.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "each variant is the kind it is named for")]
        pub enum Made {
            $($kind,)*
        }

        impl Made {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// What the API server calls it.
            pub fn resource(self) -> ApiResource {
                match self { $(Self::$kind => ApiResource::erase::<$kind>(&()),)* }
            }

            /// The kind's name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $kind::KIND,)* }
            }

            /// The kind of an object that names it.
            pub fn of(kind: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|made| made.as_str() == kind)
            }
        }
    };
}

made! { ServiceAccount, ConfigMap, Service, Deployment, HorizontalPodAutoscaler, PodDisruptionBudget, }

impl Objects {
    /// Every object as it is sent, in the order in which they are made.
    pub fn documents(&self) -> Vec<(Made, Value)> {
        let mut documents = vec![
            (Made::ServiceAccount, document(&self.service_account)),
            (Made::ConfigMap, document(&self.config_map)),
        ];
        documents.extend(self.services.iter().map(|service| (Made::Service, document(service))));
        documents.push((Made::Deployment, document(&self.deployment)));
        documents.extend(self.autoscaler.iter().map(|one| (Made::HorizontalPodAutoscaler, document(one))));
        documents.extend(self.disruption_budget.iter().map(|one| (Made::PodDisruptionBudget, document(one))));
        documents
    }
}

/// An object of Kubernetes as JSON.
pub(crate) fn document(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("objects of Kubernetes have texts for keys, so each is JSON")
}
