//! The scripted peers and the oracle, without a proxy between them: what they judge must not be of their own making.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ringway_proxy::env::Env;
use ringway_sim::checker::content::Content;
use ringway_sim::checker::http::{Ask, Http, Outcome, Rules};
use ringway_sim::faults::Severity;
use ringway_sim::peer::http1::{Backend, Habits, Manners, client};
use ringway_sim::world::run;
use ringway_sim::{Bounds, Faults, World};

const RULES: Rules = Rules { retries_max: 0, may_close: false };

async fn clients_and_one_backend(world: World) {
    let severity = world.draw(|random| random.pick(&[Severity::Harmless, Severity::Downstream]));
    let faults = world.draw(|random| Faults::draw(random, severity));
    world.set_faults(faults);
    let checker = Http::new(&world, RULES);
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

/// What the oracle says to a story.
fn judge(story: impl Fn(&World, &Http, Ask) + 'static) -> Option<String> {
    let script = move |world: World| async move {
        let checker = Http::new(&world, RULES);
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
    says("removed before", |_, checker, ask| {
        checker.retired(3);
        checker.arrived(3, ask.id, "POST");
    });
    says("only 0 harms", |_, checker, ask| checker.outcome(ask, Outcome::Refused(503)));
    says("was refused", |_, checker, ask| checker.outcome(ask, Outcome::Refused(400)));
    says("only 0 harms and 0 races", |_, checker, ask| {
        checker.outcome(ask, Outcome::Broken { excused: false, unserved: false });
    });
    let excused = judge(|world, checker, ask| {
        world.harmed_by_backend("for this test");
        checker.outcome(ask, Outcome::Refused(502));
    });
    assert_eq!(excused, None);
}
