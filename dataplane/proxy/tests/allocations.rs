//! A steady HTTP/1.1 request allocates nothing of ours: the whole data thread is watched while 10,000 requests with ten
//! header fields, a header modifier, timeouts, metrics and 1 KiB bodies pass. What other crates allocate is listed by
//! frame, and has a ceiling.

// An allocator can only be watched by being one.
#![allow(unsafe_code)]
// The figures are the point.
#![allow(clippy::print_stdout)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use common::{Server, Setup, to};
use http::{HeaderName, HeaderValue};
use ringway_config::{Filter, HeaderEdits, Timeouts};
use ringway_proxy::io::Driver;
use ringway_proxy::worker::Settings;

const WARM_UP: usize = 2_000;
const REQUESTS: usize = 10_000;
/// What other crates may allocate for a request, on average. Today: nothing; a timer or queue may grow now and then.
const OTHERS_PER_REQUEST_MAX: f64 = 0.05;
/// Stacks that are kept; further allocations are counted only.
const STACKS_MAX: usize = 2_000;

/// The thread that is watched; 0: none.
static WATCHED: AtomicI32 = AtomicI32::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);
static STACKS: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());

thread_local! {
    static THREAD: Cell<i32> = const { Cell::new(0) };
    /// Noting an allocation allocates.
    static NOTING: Cell<bool> = const { Cell::new(false) };
}

struct Watching;

#[global_allocator]
static ALLOCATOR: Watching = Watching;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `System`, as all of them do.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(block, layout, size) }
    }
}

fn note() {
    let watched = WATCHED.load(Ordering::Relaxed);
    if watched == 0 || NOTING.get() {
        return;
    }
    if THREAD.get() == 0 {
        THREAD.set(rustix::thread::gettid().as_raw_nonzero().get());
    }
    if THREAD.get() != watched {
        return;
    }
    NOTING.set(true);
    COUNT.fetch_add(1, Ordering::Relaxed);
    let mut stacks = STACKS.lock().unwrap();
    if stacks.len() < STACKS_MAX {
        stacks.push(Backtrace::force_capture());
    }
    drop(stacks);
    NOTING.set(false);
}

/// The thread of the newest proxy's first core: those of earlier ones end with the process.
fn data_thread() -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |id: &str| std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap_or_default();
    let ids = tasks.map(|task| task.unwrap().file_name().into_string().unwrap());
    let cores = ids.filter(|id| name(id).trim() == "core-0").map(|id| id.parse().unwrap());
    cores.max().expect("the core has a thread")
}

/// Whose allocation it is: the innermost frame that is neither the language's own nor this file's. Ours have relative
/// paths, those of other crates lie in cargo's registry.
fn culprit(stack: &Backtrace) -> (bool, String) {
    let text = stack.to_string();
    let mut name = "";
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("at ") {
            None => name = line.split_once(": ").map_or("", |(_, name)| name),
            Some(path) if path.starts_with("/rustc/") || path.contains("tests/allocations.rs") => {}
            Some(path) => return (!path.contains("/registry/"), format!("{name} at {path}")),
        }
    }
    (false, "unknown".to_owned())
}

fn steady_requests_allocate_nothing_of_ours(driver: Driver) {
    let backend = Server::listen();
    let mut rule = to("app");
    rule.filters = vec![Filter::RequestHeaders(HeaderEdits {
        set: vec![(HeaderName::from_static("x-added"), HeaderValue::from_static("by the rule"))],
        add: vec![],
        remove: vec![HeaderName::from_static("x-removed")],
    })];
    let long = Some(Duration::from_secs(60));
    rule.timeouts = Timeouts { request: long, backend_request: long };
    let setup = Setup::new().cluster("app", &[backend.address]).http(vec![rule]);
    let gate = setup.serve_with(driver, 1, Settings::default());

    let mut client = gate.client();
    let mut fields = String::new();
    for index in 0..9 {
        fields.push_str(&format!("x-field-{index}: value {index}\r\n"));
    }
    let request = format!("GET /path?query=1 HTTP/1.1\r\nhost: a.test\r\nx-removed: 1\r\n{fields}\r\n");
    let response = format!("HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n{}", "x".repeat(1024));
    client.send(&request);
    let mut server = backend.accept();
    let serve = std::thread::spawn(move || {
        for _ in 0..WARM_UP + REQUESTS {
            server.head();
            server.send(&response);
        }
        server
    });
    let mut ask = |count: usize, first_is_sent: bool| {
        for index in 0..count {
            if index > 0 || !first_is_sent {
                client.send(&request);
            }
            let (_, body) = client.response();
            assert_eq!(body.len(), 1024);
        }
    };
    ask(WARM_UP, true);
    COUNT.store(0, Ordering::Relaxed);
    STACKS.lock().unwrap().clear();
    WATCHED.store(data_thread(), Ordering::Relaxed);
    ask(REQUESTS, false);
    WATCHED.store(0, Ordering::Relaxed);
    drop(serve.join().unwrap());

    let mut by_frame: BTreeMap<(bool, String), usize> = BTreeMap::new();
    for stack in STACKS.lock().unwrap().iter() {
        *by_frame.entry(culprit(stack)).or_default() += 1;
    }
    let ours: Vec<_> = by_frame.iter().filter(|((ours, _), _)| *ours).collect();
    let count = COUNT.load(Ordering::Relaxed);
    if std::env::var_os("RINGWAY_SHOW_STACKS").is_some() {
        STACKS.lock().unwrap().iter().take(5).for_each(|stack| println!("{stack}"));
    }
    println!("{count} allocations in {REQUESTS} requests; by frame: {by_frame:#?}");
    assert!(ours.is_empty(), "allocations of ours: {ours:#?}");
    assert!(
        (count as f64) / (REQUESTS as f64) <= OTHERS_PER_REQUEST_MAX,
        "others allocate too much: {by_frame:#?}"
    );
}

// One test for both drivers: only one thread can be watched at a time.
#[test]
fn a_steady_request_allocates_nothing_of_ours() {
    for driver in [Driver::IoUring, Driver::Epoll] {
        steady_requests_allocate_nothing_of_ours(driver);
    }
}
