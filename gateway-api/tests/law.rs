//! The law of translation: after any changes, in any order and grouping, the state is what the final world comes to
//! from nothing; and the changes that were told add up to it.
//!
//! The worlds are drawn from the objects of all golden cases at once. Their names clash, so that objects replace each
//! other and refer to what was meant for another case: much that nobody would write, and all of it must hold.
#![expect(clippy::disallowed_methods, reason = "fixtures are files")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use ringway_config::Config;
use ringway_gateway_api::translate::{Slices, Statuses};
use ringway_gateway_api::{Changes, Object, ObjectKey, Options, Translator, World, manifest, translate};

static OBJECTS: LazyLock<Vec<Object>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut cases: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let documents = cases.iter().flat_map(|case| {
        let text = fs::read_to_string(case.join("in.yaml")).unwrap();
        manifest::parse("in.yaml".into(), &text).0
    });
    documents.map(|document| Object::decode(document.value).unwrap().unwrap()).collect()
});

/// One change of a batch: an object comes or goes.
#[derive(Clone, Debug)]
struct Step {
    object: Index,
    comes: bool,
}

fn batches() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step =
        (any::<Index>(), prop::bool::weighted(0.75)).prop_map(|(object, comes)| Step { object, comes });
    prop::collection::vec(prop::collection::vec(step, 1..40), 1..12)
}

fn options() -> Options {
    Options::standalone(vec!["192.0.2.1".parse().unwrap()])
}

proptest! {
    #[test]
    fn any_changes_in_any_grouping_come_to_what_the_final_world_comes_to(batches in batches()) {
        let mut there: BTreeMap<ObjectKey, Object> = BTreeMap::new();
        let mut translator = Translator::new(options());
        let mut config = Config::default();
        let mut statuses = Statuses::new();
        for batch in batches {
            let mut changes = Changes::default();
            let mut keys = vec![];
            for step in batch {
                let object = step.object.get(&OBJECTS);
                // Within a batch there is no order between an object's coming and going.
                if keys.contains(&object.key()) {
                    continue;
                }
                keys.push(object.key());
                if step.comes {
                    there.insert(object.key(), object.clone());
                    changes.upserts.push(object.clone());
                } else {
                    there.remove(&object.key());
                    changes.deletes.push(object.key());
                }
            }
            let delta = translator.apply(changes);
            config.apply(delta.resources);
            for (key, status) in delta.statuses {
                match status {
                    Some(status) => drop(statuses.insert(key, status)),
                    None => drop(statuses.remove(&key)),
                }
            }
            let objects: Vec<Object> = there.values().cloned().collect();
            let expected = translate(&World::of(&objects), &Slices::of_objects(&objects), &options());
            prop_assert_eq!(&translator.translation(), &expected);
            prop_assert_eq!((&config, &statuses), (&expected.config, &expected.statuses), "what was told");
        }
    }

    #[test]
    fn nothing_refers_to_what_is_not_there(taken in prop::collection::vec(any::<Index>(), 1..200)) {
        let objects: Vec<Object> = taken.iter().map(|index| index.get(&OBJECTS).clone()).collect();
        let config = translate(&World::of(&objects), &Slices::of_objects(&objects), &options()).config;
        let missing = references::missing(&config);
        prop_assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn the_same_again_changes_nothing() {
    let mut translator = Translator::new(options());
    translator.apply(Changes::all(OBJECTS.clone()));
    let last: BTreeMap<ObjectKey, Object> =
        OBJECTS.iter().map(|object| (object.key(), object.clone())).collect();
    let delta = translator.apply(Changes::all(last.into_values()));
    assert!(delta.resources.is_empty(), "{delta:?}");
    assert!(delta.statuses.is_empty(), "{delta:?}");
}

mod references {
    use ringway_config::{
        BackendTarget, Cluster, Config, EndpointSetKey, Filter, HttpRoute, Listener, ListenerKey,
        ListenerProtocol, Route,
    };

    /// Names that something refers to and that nothing has.
    pub(crate) fn missing(config: &Config) -> Vec<String> {
        let mut missing = vec![];
        for cluster in config.clusters.values() {
            of_cluster(config, cluster, &mut missing);
        }
        for listener in config.listeners.values() {
            of_listener(config, listener, &mut missing);
        }
        for route in config.routes.values() {
            match &**route {
                Route::Http(route) => of_http(config, route, &mut missing),
                Route::Tls(route) => {
                    let listeners = route.attachments.iter().map(|attachment| &attachment.listener);
                    listeners.for_each(|key| listener(config, key, &mut missing));
                    let targets = route.backends.iter().flat_map(|backends| backends.iter());
                    targets.for_each(|(target, _)| self::target(config, target, &mut missing));
                }
                Route::Tcp(route) | Route::Udp(route) => {
                    route.listeners.iter().for_each(|key| listener(config, key, &mut missing));
                    let targets = route.backends.iter().flat_map(|backends| backends.iter());
                    targets.for_each(|(target, _)| self::target(config, target, &mut missing));
                }
            }
        }
        missing
    }

    fn of_cluster(config: &Config, cluster: &Cluster, missing: &mut Vec<String>) {
        let key: &EndpointSetKey = &cluster.endpoints;
        if !config.endpoint_sets.contains_key(key) {
            missing.push(format!("{} of {}", key, cluster.key));
        }
        let certificate = cluster.tls.as_ref().and_then(|tls| tls.client_certificate.as_ref());
        if certificate.is_some_and(|key| !config.certificates.contains_key(key)) {
            missing.push(format!("{certificate:?} of {}", cluster.key));
        }
    }

    fn of_listener(config: &Config, listener: &Listener, missing: &mut Vec<String>) {
        assert!(!listener.binds.is_empty(), "{}", listener.key);
        let (ListenerProtocol::Https(tls) | ListenerProtocol::TlsTerminate(tls)) = &listener.protocol else {
            return;
        };
        assert!(!tls.certificates.is_empty(), "{}", listener.key);
        let absent = tls.certificates.iter().filter(|key| !config.certificates.contains_key(*key));
        missing.extend(absent.map(|key| format!("{key} of {}", listener.key)));
    }

    fn of_http(config: &Config, route: &HttpRoute, missing: &mut Vec<String>) {
        assert!(!route.attachments.is_empty(), "{}", route.key);
        for attachment in &route.attachments {
            assert!(!attachment.hostnames.is_empty(), "{}", route.key);
            listener(config, &attachment.listener, missing);
        }
        for rule in &route.rules {
            assert!(!rule.matches.is_empty(), "{}", route.key);
            let backends = || rule.backends.iter().flat_map(|backends| backends.iter());
            backends().for_each(|(backend, _)| target(config, &backend.target, missing));
            let of_backends = backends().flat_map(|(backend, _)| &backend.filters);
            for filter in rule.filters.iter().chain(of_backends) {
                if let Filter::Mirror(mirror) = filter {
                    target(config, &BackendTarget::Cluster(mirror.cluster.clone()), missing);
                }
            }
        }
    }

    fn listener(config: &Config, key: &ListenerKey, missing: &mut Vec<String>) {
        if !config.listeners.contains_key(key) {
            missing.push(key.to_string());
        }
    }

    fn target(config: &Config, target: &BackendTarget, missing: &mut Vec<String>) {
        if let BackendTarget::Cluster(key) = target
            && !config.clusters.contains_key(key)
        {
            missing.push(key.to_string());
        }
    }
}
