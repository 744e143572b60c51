//! Real files in real directories: every way of saving them becomes live, and within its time.
//!
//! Nothing sleeps: a test does something to a file and waits, with a deadline, for the data plane to be told.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringway_config::{Applied, DataPlane, Delta, Resource, ResourceKey};
use ringway_controller::source::{Made, Root, SourceName};
use ringway_controller::standalone::{Board, Orders, Standalone, orders};
use ringway_gateway_api::Options;

/// Far beyond what a change takes, so that only a change that never comes fails.
const DEADLINE: Duration = Duration::from_secs(20);

struct Told {
    generation: u64,
    told: Sender<(Instant, Vec<String>)>,
}

impl DataPlane for Told {
    fn apply(&mut self, delta: Delta) -> Applied {
        self.generation += 1;
        let set = delta.set.iter().map(|resource| match resource {
            Resource::Listener(listener) => {
                format!("+{}", listener.gateway.as_str().split('/').nth(1).unwrap())
            }
            other => unreachable!("gateways are listeners alone: {other:?}"),
        });
        let removed = delta.removed.iter().map(|key| match key {
            ResourceKey::Listener(key) => format!("-{}", key.as_str().split('/').nth(2).unwrap()),
            other => unreachable!("gateways are listeners alone: {other:?}"),
        });
        self.told.send((Instant::now(), set.chain(removed).collect())).expect("the test listens");
        Applied { generation: self.generation, ..Applied::default() }
    }
}

struct Pipeline {
    told: Receiver<(Instant, Vec<String>)>,
    orders: Option<Orders>,
    board: Board,
    thread: Option<JoinHandle<()>>,
}

impl Pipeline {
    fn start(roots: &[&Path]) -> Self {
        Self::start_on(roots.iter().map(|root| Root::Path(root.to_path_buf())).collect())
    }

    fn start_on(roots: Vec<Root>) -> Self {
        let (sender, told) = channel();
        let mut standalone =
            Standalone::new(roots, Options::standalone(Vec::new()), Told { generation: 0, told: sender });
        let (orders, inbox) = orders().unwrap();
        let board = standalone.board();
        standalone.first();
        let thread = std::thread::spawn(move || standalone.run(&inbox));
        Self { told, orders: Some(orders), board, thread: Some(thread) }
    }

    fn next(&self) -> Vec<String> {
        self.told.recv_timeout(DEADLINE).expect("a change becomes live").1
    }

    fn wait_for_problem(&self, part: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.board.read().problems.iter().any(|problem| problem.to_string().contains(part)) {
            assert!(Instant::now() < deadline, "{:?}", self.board.read().problems);
            std::thread::yield_now();
        }
    }

    fn wait_for_no_problem(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.board.read().problems.is_empty() {
            assert!(Instant::now() < deadline, "{:?}", self.board.read().problems);
            std::thread::yield_now();
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the pipeline ends without a panic");
        }
    }
}

/// A directory of the test's own, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _absent = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

/// A gateway on a port of its own, so that none is in another's way.
fn gateway(name: &str) -> String {
    let port = 1024 + name.bytes().fold(7_u32, |hash, byte| (hash * 31 + u32::from(byte)) % 60_000);
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\n\
         spec: {{gatewayClassName: ringway, listeners: [{{name: web, protocol: HTTP, port: {port}}}]}}\n"
    )
}

#[test]
fn every_way_of_saving_a_file_becomes_live() {
    let scratch = Scratch::new("saving");
    let conf = scratch.join("conf");
    fs::create_dir(&conf).unwrap();
    fs::write(conf.join("a.yaml"), gateway("a")).unwrap();
    let pipeline = Pipeline::start(&[&conf]);
    assert_eq!(pipeline.next(), ["+a"]);

    fs::write(conf.join("b.yaml"), gateway("b")).unwrap();
    assert_eq!(pipeline.next(), ["+b"]);

    fs::write(conf.join(".a.yaml.tmp"), gateway("a2")).unwrap();
    fs::rename(conf.join(".a.yaml.tmp"), conf.join("a.yaml")).unwrap();
    assert_eq!(pipeline.next(), ["+a2", "-a"]);

    fs::remove_file(conf.join("b.yaml")).unwrap();
    assert_eq!(pipeline.next(), ["-b"]);
}

#[test]
fn a_swapped_config_map_changes_all_at_once() {
    let scratch = Scratch::new("configmap");
    let mount = scratch.join("mount");
    for (version, name) in [("..1", "one"), ("..2", "two"), ("..3", "three")] {
        fs::create_dir_all(mount.join(version)).unwrap();
        for file in ["a.yaml", "b.yaml"] {
            fs::write(mount.join(version).join(file), gateway(&format!("{name}-{}", &file[..1]))).unwrap();
        }
    }
    std::os::unix::fs::symlink("..1", mount.join("..data")).unwrap();
    for file in ["a.yaml", "b.yaml"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), mount.join(file)).unwrap();
    }
    let pipeline = Pipeline::start(&[&mount]);
    assert_eq!(pipeline.next(), ["+one-a", "+one-b"]);
    for (version, before, after) in [("..2", "one", "two"), ("..3", "two", "three")] {
        std::os::unix::fs::symlink(version, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        let told = pipeline.next();
        let expected =
            [format!("+{after}-a"), format!("+{after}-b"), format!("-{before}-a"), format!("-{before}-b")];
        assert_eq!(told, expected);
        fs::remove_dir_all(mount.join(if version == "..2" { "..1" } else { "..2" })).unwrap();
    }
}

#[test]
fn a_link_to_a_file_elsewhere_is_followed_through_every_change() {
    let scratch = Scratch::new("links");
    for directory in ["conf", "one", "two"] {
        fs::create_dir(scratch.join(directory)).unwrap();
    }
    fs::write(scratch.join("one/a.yaml"), gateway("one")).unwrap();
    fs::write(scratch.join("two/a.yaml"), gateway("two")).unwrap();
    std::os::unix::fs::symlink("one", scratch.join("current")).unwrap();
    std::os::unix::fs::symlink("../current/a.yaml", scratch.join("conf/a.yaml")).unwrap();
    let pipeline = Pipeline::start(&[&scratch.join("conf")]);
    assert_eq!(pipeline.next(), ["+one"]);

    fs::write(scratch.join("one/a.yaml"), gateway("edited")).unwrap();
    assert_eq!(pipeline.next(), ["+edited", "-one"]);

    std::os::unix::fs::symlink("two", scratch.join("next")).unwrap();
    fs::rename(scratch.join("next"), scratch.join("current")).unwrap();
    assert_eq!(pipeline.next(), ["+two", "-edited"]);
}

#[test]
fn a_directory_that_goes_keeps_what_it_said_until_it_is_back() {
    let scratch = Scratch::new("recreated");
    let conf = scratch.join("etc/conf");
    fs::create_dir_all(&conf).unwrap();
    fs::write(conf.join("a.yaml"), gateway("a")).unwrap();
    let pipeline = Pipeline::start(&[&conf]);
    assert_eq!(pipeline.next(), ["+a"]);

    fs::remove_dir_all(scratch.join("etc")).unwrap();
    pipeline.wait_for_problem("cannot be read");
    fs::create_dir_all(&conf).unwrap();
    fs::write(conf.join("b.yaml"), gateway("b")).unwrap();
    let mut told = pipeline.next();
    // The empty directory may be seen before its file is.
    if told == ["-a"] {
        told.splice(0..0, pipeline.next());
    }
    assert_eq!(told, ["+b", "-a"]);
    pipeline.wait_for_no_problem();

    fs::rename(&conf, scratch.join("old")).unwrap();
    pipeline.wait_for_problem("cannot be read");
    fs::write(scratch.join("old/b.yaml"), gateway("c")).unwrap();
    fs::rename(scratch.join("old"), &conf).unwrap();
    assert_eq!(pipeline.next(), ["+c", "-b"]);
}

#[test]
fn a_broken_file_keeps_what_it_said_while_others_change() {
    let scratch = Scratch::new("broken");
    fs::write(scratch.join("a.yaml"), gateway("a")).unwrap();
    let pipeline = Pipeline::start(&[&scratch.0]);
    assert_eq!(pipeline.next(), ["+a"]);

    fs::write(scratch.join("a.yaml"), gateway("a").replace("port: ", "port: eighty-")).unwrap();
    pipeline.wait_for_problem("Gateway/default/a: spec.listeners[0].port: is a string");
    fs::write(scratch.join("b.yaml"), gateway("b")).unwrap();
    assert_eq!(pipeline.next(), ["+b"]);

    fs::write(scratch.join("a.yaml"), gateway("a2")).unwrap();
    assert_eq!(pipeline.next(), ["+a2", "-a"]);
    pipeline.wait_for_no_problem();

    fs::write(scratch.join("b.yaml"), b"kind: \xff").unwrap();
    pipeline.wait_for_problem("b.yaml:1:1: holds a byte that no character");
    fs::remove_file(scratch.join("b.yaml")).unwrap();
    assert_eq!(pipeline.next(), ["-b"]);
}

#[derive(Debug)]
struct OfOneFile([PathBuf; 1]);

impl Made for OfOneFile {
    fn name(&self) -> SourceName {
        "flags".into()
    }

    fn files(&self) -> &[PathBuf] {
        &self.0
    }

    fn text(&self) -> Result<String, String> {
        let name = fs::read_to_string(&self.0[0]).map_err(|error| error.to_string())?;
        Ok(gateway(&name))
    }
}

#[test]
fn a_text_made_of_files_follows_them() {
    let scratch = Scratch::new("made");
    fs::write(scratch.join("name"), "a").unwrap();
    let pipeline = Pipeline::start_on(vec![Root::Made(Arc::new(OfOneFile([scratch.join("name")])))]);
    assert_eq!(pipeline.next(), ["+a"]);
    fs::write(scratch.join(".name"), "b").unwrap();
    fs::rename(scratch.join(".name"), scratch.join("name")).unwrap();
    assert_eq!(pipeline.next(), ["+b", "-a"]);
    fs::remove_file(scratch.join("name")).unwrap();
    pipeline.wait_for_problem("flags:1:1: cannot be read");
}

/// Tells the test that a scan has come this far, and waits until it may go on.
#[derive(Debug)]
struct Stop {
    reached: Sender<()>,
    go_on: Mutex<Receiver<()>>,
    none: [PathBuf; 0],
}

impl Made for Stop {
    fn name(&self) -> SourceName {
        "stop".into()
    }

    fn files(&self) -> &[PathBuf] {
        &self.none
    }

    fn text(&self) -> Result<String, String> {
        // Without a test that listens, nothing stops.
        if self.reached.send(()).is_ok() {
            self.go_on.lock().unwrap().recv().unwrap();
        }
        Ok(String::new())
    }
}

#[test]
fn a_file_that_is_seen_half_written_keeps_what_it_said_until_it_is_whole() {
    let scratch = Scratch::new("half");
    fs::write(scratch.join("a.yaml"), gateway("a")).unwrap();
    let stop = || {
        let ((reached, at), (go, go_on)) = (channel(), channel());
        let stop = Stop { reached, go_on: Mutex::new(go_on), none: [] };
        (Root::Made(Arc::new(stop)), at, go)
    };
    let (before, before_reading, read) = stop();
    let (after, after_reading, done) = stop();
    let pass = |at: &Receiver<()>, go: &Sender<()>| {
        at.recv_timeout(DEADLINE).unwrap();
        go.send(()).unwrap();
    };
    let pipeline = std::thread::scope(|scope| {
        let pipeline = scope.spawn(|| Pipeline::start_on(vec![before, Root::Path(scratch.0.clone()), after]));
        pass(&before_reading, &read);
        pass(&after_reading, &done);
        pipeline.join().unwrap()
    });
    assert_eq!(pipeline.next(), ["+a"]);

    // Saved as most programs save: emptied, then written. The reading falls between.
    pipeline.orders.as_ref().unwrap().rescan();
    before_reading.recv_timeout(DEADLINE).unwrap();
    let mut file = fs::File::create(scratch.join("a.yaml")).unwrap();
    read.send(()).unwrap();
    after_reading.recv_timeout(DEADLINE).unwrap();
    drop((before_reading, after_reading));
    done.send(()).unwrap();
    file.write_all(gateway("b").as_bytes()).unwrap();
    drop(file);
    assert_eq!(pipeline.next(), ["+b", "-a"]);
    pipeline.wait_for_no_problem();
}

#[test]
fn two_saves_within_one_tick_of_the_clock_are_both_seen() {
    let scratch = Scratch::new("racy");
    fs::write(scratch.join("a.yaml"), gateway("a0000")).unwrap();
    let pipeline = Pipeline::start(&[&scratch.0]);
    assert_eq!(pipeline.next(), ["+a0000"]);
    // Same size, same inode; the time stamp may be the same as well.
    for round in 1..=50 {
        let name = format!("a{round:04}");
        fs::write(scratch.join("a.yaml"), gateway(&name)).unwrap();
        let told = pipeline.next();
        assert!(told.contains(&format!("+{name}")), "{told:?}");
    }
}

#[test]
fn a_rescan_can_be_asked_for() {
    let scratch = Scratch::new("rescan");
    fs::write(scratch.join("a.yaml"), gateway("a")).unwrap();
    let pipeline = Pipeline::start(&[&scratch.join("a.yaml"), &scratch.0]);
    assert_eq!(pipeline.next(), ["+a"], "a file that is named twice counts once");
    let scans = pipeline.board.read().scans;
    fs::write(scratch.join("a.yaml"), gateway("b")).unwrap();
    pipeline.orders.as_ref().unwrap().rescan();
    assert_eq!(pipeline.next(), ["+b", "-a"]);
    assert!(pipeline.board.read().scans > scans);
}

#[test]
fn a_change_is_live_within_100_ms_of_the_last_write() {
    let scratch = Scratch::new("latency");
    let conf = scratch.join("conf");
    fs::create_dir(&conf).unwrap();
    let pipeline = Pipeline::start(&[&conf]);
    assert!(pipeline.next().is_empty());
    let mut took: Vec<Duration> = (0..20)
        .map(|round| {
            fs::write(conf.join("a.yaml"), gateway(&format!("a{round}"))).unwrap();
            let written = Instant::now();
            let (live, _) = pipeline.told.recv_timeout(DEADLINE).unwrap();
            live.saturating_duration_since(written)
        })
        .collect();
    took.sort_unstable();
    // The median, since a shared machine may stop a thread for longer than that.
    assert!(took[10] < Duration::from_millis(100), "{took:?}");
}
