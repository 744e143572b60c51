//! One document of kind `Traffic`: its manifests are served, its exchanges made one after the other.

use std::collections::{BTreeMap, HashMap};

use ringway_e2e::{Backend, Builder, Driver, Gateway, eventually};
use serde_json::{Value, json};

use crate::ask::{Client, ask};
use crate::fill::Filling;
use crate::obliging::obliging;

/// What is being served.
pub(crate) struct Case {
    gateway: Gateway,
    pub(crate) filling: Filling,
    objects: Vec<Value>,
    backends: HashMap<String, Backend>,
    traffic: Value,
}

impl Case {
    /// The cases of a file, each started when it is its turn.
    pub(crate) fn all(driver: Driver, text: &str) -> impl Iterator<Item = Self> {
        let count = text.split("\n---\n").filter(|document| document.starts_with("kind: Traffic\n")).count();
        assert!(count > 0, "the last documents say what is asked");
        (0..count).map(move |number| Self::start(driver, text, number))
    }

    fn start(driver: Driver, text: &str, number: usize) -> Self {
        let mut filling = Filling::new();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&filling.fill(text)).unwrap();
        let (mut traffic, mut objects): (Vec<Value>, Vec<Value>) =
            documents.into_iter().partition(|document| document["kind"] == "Traffic");
        let traffic = traffic.swap_remove(number);
        for field in traffic.as_object().unwrap().keys() {
            let known = ["kind", "features", "arguments", "backends", "exchanges", "requests"];
            assert!(known.contains(&&**field), "Traffic has no field {field}");
        }
        let mut backends = backends(&objects, &traffic, &mut filling);
        for (name, backend) in &backends {
            let service = objects
                .iter()
                .find(|object| object["kind"] == "Service" && object["metadata"]["name"] == **name);
            let slice = slice(&service.unwrap()["metadata"], backend);
            objects.push(slice);
        }
        backends.extend(std::mem::take(&mut filling.backends));
        let arguments = traffic["arguments"].as_array().cloned().unwrap_or_default();
        let arguments = arguments.iter().map(|argument| argument.as_str().unwrap().to_owned());
        let gateway = Builder::new(driver).arguments(arguments).start(&objects);
        Self { gateway, filling, objects, backends, traffic }
    }

    /// What did not go as the file says.
    pub(crate) fn run(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut last = None;
        for exchange in self.traffic["exchanges"].as_array().unwrap().clone() {
            if exchange.get("ask").is_none() {
                self.change(&exchange);
            } else if let Err(what) = ask(&self, &mut last, &exchange) {
                wrong.push(format!("{exchange}: {what}"));
            }
        }
        drop::<Option<Client>>(last);
        assert!(self.gateway.stop().success());
        for (name, count) in self.traffic["requests"].as_object().into_iter().flatten() {
            let requests = self.backends[name].requests_in_all();
            if Some(requests as u64) != count.as_u64() {
                wrong.push(format!("{name} had {requests} requests in all instead of {count}"));
            }
        }
        wrong
    }

    /// Takes an object away or puts one in its place, and waits until that is in force.
    fn change(&mut self, change: &Value) {
        let of = |object: &Value| {
            format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
        };
        let (gone, new) = match (change.get("remove"), change.get("apply")) {
            (Some(gone), None) => (gone.as_str().unwrap().to_owned(), None),
            (None, Some(new)) => (of(new), Some(new.clone())),
            _ => panic!("{change} neither asks nor changes anything"),
        };
        let before = self.objects.len();
        self.objects.retain(|object| of(object) != gone);
        assert!(new.is_some() || self.objects.len() < before, "{gone} is not there to be removed");
        self.objects.extend(new);
        let generation = self.gateway.generation();
        self.gateway.set("gateway.yaml", &self.objects);
        eventually("the change is in force", || (self.gateway.generation() > generation).then_some(()));
    }

    /// The backend of a Service.
    pub(crate) fn backend(&self, name: &str) -> &Backend {
        &self.backends[name]
    }
}

/// A backend for each Service that has no slice, and for those that the traffic names.
fn backends(objects: &[Value], traffic: &Value, filling: &mut Filling) -> HashMap<String, Backend> {
    let sliced: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"] == "EndpointSlice")
        .map(|slice| &slice["metadata"]["labels"]["kubernetes.io/service-name"])
        .collect();
    let named: BTreeMap<String, Value> = traffic
        .get("backends")
        .map(|named| serde_json::from_value(named.clone()).unwrap())
        .unwrap_or_default();
    let mut backends = HashMap::new();
    for service in objects.iter().filter(|object| object["kind"] == "Service") {
        let name = service["metadata"]["name"].as_str().unwrap();
        let named = named.get(name);
        let elsewhere = service["spec"]["type"] == "ExternalName";
        if named.is_none() && (elsewhere || sliced.contains(&&service["metadata"]["name"])) {
            continue;
        }
        let names = named.and_then(|backend| backend.get("certificate"));
        let identity = names.map(|names| filling.identity(names.as_str().unwrap()).clone());
        backends.insert(name.to_owned(), obliging(name, identity.as_ref(), &filling.gate));
    }
    backends
}

fn slice(service: &Value, backend: &Backend) -> Value {
    let mut metadata = service.clone();
    metadata["labels"] = json!({ "kubernetes.io/service-name": service["name"] });
    metadata["name"] = format!("{}-backend", service["name"].as_str().unwrap()).into();
    metadata.as_object_mut().unwrap().remove("annotations");
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
        "ports": [{ "port": backend.address.port() }],
        "endpoints": [{ "addresses": [backend.address.ip()] }],
    })
}
