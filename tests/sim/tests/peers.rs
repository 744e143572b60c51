//! The scripted peers and the oracle, without a proxy between them: what they judge must not be of their own making.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ringway_proxy::env::{Acceptor, Env};
use ringway_sim::checker::content::Content;
use ringway_sim::checker::http::{Ask, Http, Outcome, Rules};
use ringway_sim::checker::tcp::Tcp;
use ringway_sim::faults::Severity;
use ringway_sim::peer::http1::{self, Backend, Habits, Manners, client};
use ringway_sim::peer::tls::{Identity, Tls};
use ringway_sim::peer::{http2, tcp};
use ringway_sim::world::run;
use ringway_sim::{Bounds, Faults, World};

async fn clients_and_one_backend(world: World) {
    let severity = world.draw(|random| random.pick(&[Severity::Harmless, Severity::Downstream]));
    let faults = world.draw(|random| Faults::draw(random, severity));
    world.set_faults(faults);
    let checker = Http::new(&world, Rules::default());
    let backend = Backend::start(&world.peer(100), 0, 80, Manners::default(), Rc::clone(&checker));
    let done = Rc::new(Cell::new(0));
    for index in 0..4 {
        let (env, checker, done, to) =
            (world.peer(index), Rc::clone(&checker), Rc::clone(&done), backend.address());
        world.spawn(env.place(), async move {
            if let Ok(socket) = env.connect(to).await {
                client(env, socket, Habits { leave: 10_000, ..Habits::default() }, checker).await;
            }
            done.set(done.get() + 1);
        });
    }
    world.until(Duration::from_secs(5000), || done.get() == 4).await;
    assert_eq!(done.get(), 4);
    checker.finish();
    world.note(format!("answered: {}", checker.answered()));
    assert!(world.harm_done().downstream > 0 || checker.answered() > 3, "something is tested");
}

#[test]
fn clients_and_backend_understand_each_other_under_faults() {
    for seed in 0..40 {
        let run = run(seed, 1, Bounds::default(), false, clients_and_one_backend);
        assert_eq!(run.violation, None, "seed {seed}:\n{}", run.trace.last_lines(80));
    }
}

/// HTTP/2 and TLS, and bytes, in one world.
async fn other_protocols(world: World) {
    // HTTP/2 writes what opens a connection before it reads: that much must fit.
    let faults = world
        .draw(|random| Faults { buffer: (2000, 64 << 10), ..Faults::draw(random, Severity::Downstream) });
    world.set_faults(faults);
    let checker = Http::new(&world, Rules::default());
    let bytes = Tcp::new(&world);
    let h2 = http2::backend(
        &world.peer(100),
        0,
        80,
        Manners { close: 0, ..Manners::default() },
        Rc::clone(&checker),
    );
    let tcp = tcp::backend(&world.peer(101), 90, 50_000, Duration::from_millis(5), Rc::clone(&bytes));
    let identity = Rc::new(Identity::new("test.example"));
    let tls = world.peer(102).listen(443);
    {
        let (env, checker, config) = (world.peer(102), Rc::clone(&checker), identity.server(&["http/1.1"]));
        env.clone().spawn(async move {
            loop {
                let _ = tls.readable().await;
                let Ok((socket, _)) = tls.accept_here() else { continue };
                let wire = Tls::server(socket, config.clone());
                env.spawn(http1::serve(
                    env.world().clone(),
                    wire,
                    0,
                    Manners::default(),
                    Rc::clone(&checker),
                ));
            }
        });
    }
    let done = Rc::new(Cell::new(0));
    for index in 0..6 {
        let (env, checker, bytes, done) =
            (world.peer(index), Rc::clone(&checker), Rc::clone(&bytes), Rc::clone(&done));
        let config = identity.client(&["http/1.1"]);
        world.spawn(env.place(), async move {
            let to = [h2, tcp, "10.1.0.102:443".parse().unwrap()][usize::from(index) % 3];
            let habits = Habits { pipeline_max: 5, ..Habits::default() };
            match (env.connect(to).await, index % 3) {
                (Ok(socket), 0) => http2::client(env, socket, habits, checker).await,
                (Ok(socket), 1) => {
                    tcp::client(env.world().clone(), socket, 50_000, habits.pause_max, bytes).await
                }
                (Ok(socket), _) => {
                    client(env, Tls::client(socket, config, "test.example"), habits, checker).await
                }
                (Err(_), _) => {}
            }
            done.set(done.get() + 1);
        });
    }
    world.until(Duration::from_secs(5000), || done.get() == 6).await;
    assert_eq!(done.get(), 6);
    world.sleep(Duration::from_secs(100)).await;
    checker.finish();
    bytes.finish();
}

#[test]
fn the_other_protocols_are_understood_too_and_their_traces_repeat() {
    for seed in 0..20 {
        let once = run(seed, 1, Bounds::default(), false, other_protocols);
        assert_eq!(once.violation, None, "seed {seed}:\n{}", once.trace.last_lines(80));
        let again = run(seed, 1, Bounds::default(), false, other_protocols);
        assert_eq!(once.trace.fingerprint(), again.trace.fingerprint(), "seed {seed}");
    }
}

/// What the oracle says to a story.
fn judge(story: impl Fn(&World, &Http, Ask) + 'static) -> Option<String> {
    let script = move |world: World| async move {
        let checker = Http::new(&world, Rules::default());
        let ask = checker.asks("POST", Some(100));
        story(&world, &checker, ask);
        checker.finish();
    };
    run(1, 1, Bounds::default(), false, script).violation
}

fn answered(answer: u64, length: u64) -> Outcome {
    Outcome::Answered { answer, status: 200, length }
}

#[test]
fn the_oracle_accepts_what_is_right_and_says_what_is_not() {
    let right = judge(|_, checker, ask| {
        checker.arrived(0, ask.id, "POST");
        checker.received(ask, 0, &Content::of_request(ask.id).bytes(0, 100));
        checker.received_whole(ask, 100);
        let answer = checker.answers(ask, 200, 7);
        checker.got(ask, answer, 0, &Content::of_answer(answer).bytes(0, 7));
        checker.outcome(ask, answered(answer, 7));
    });
    assert_eq!(right, None);

    let says = |what: &str, story: fn(&World, &Http, Ask)| {
        let said = judge(story).unwrap_or_default();
        assert!(said.contains(what), "{said:?} should say {what:?}");
    };
    says("has no outcome", |_, _, _| {});
    says("was sent 2 times", |_, checker, ask| {
        checker.arrived(0, ask.id, "POST");
        checker.arrived(1, ask.id, "POST");
    });
    says("byte 50 of its body is wrong", |_, checker, ask| {
        let mut body = Content::of_request(ask.id).bytes(0, 100);
        body.remove(50);
        checker.received(ask, 0, &body);
    });
    says("99 bytes arrived, 100 were sent", |_, checker, ask| checker.received_whole(ask, 99));
    says("not its own", |_, checker, ask| {
        let other = checker.asks("GET", None);
        let answer = checker.answers(other, 200, 0);
        checker.outcome(ask, answered(answer, 0));
    });
    says("the client got 200 with 6", |_, checker, ask| {
        let answer = checker.answers(ask, 200, 7);
        checker.outcome(ask, answered(answer, 6));
    });
    says("nobody sent", |_, checker, _| assert_eq!(checker.arrived(0, 12345, "GET"), None));
    says("only 0 are excused by harm", |_, checker, ask| checker.outcome(ask, Outcome::Refused(503)));
    says("was refused", |_, checker, ask| checker.outcome(ask, Outcome::Refused(400)));
    says("by harm and 0 by races", |_, checker, ask| {
        checker.outcome(ask, Outcome::Broken { excused: false, unserved: false });
    });
    let script = |world: World| async move {
        let checker = Http::new(&world, Rules::default());
        let before = checker.asks("PUT", None);
        checker.arrived(3, before.id, "PUT");
        world.sleep(Duration::from_secs(1)).await;
        checker.retired(3);
        world.sleep(Duration::from_secs(1)).await;
        // Asked before the change: it may have been on its way.
        checker.arrived(3, before.id, "PUT");
        let after = checker.asks("GET", None);
        checker.arrived(3, after.id, "GET");
    };
    let said = run(1, 1, Bounds::default(), false, script).violation.unwrap_or_default();
    assert!(said.contains("request 2 reached backend 3, which was removed before"), "{said}");
    let excused = judge(|world, checker, ask| {
        world.harmed_by_backend("for this test");
        checker.outcome(ask, Outcome::Refused(502));
    });
    assert_eq!(excused, None);
}
