//! The simulator's own promises: one seed decides everything, streams behave, time jumps, a hang is a failure.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_config::{Bind, Transport};
use ringway_core::turn::Turns;
use ringway_proxy::buffer::Buffers;
use ringway_proxy::env::{Acceptor, Datagrams, Env, Socket};
use ringway_proxy::link::{Link, LinkError};
use ringway_proxy::mailbox::Message;
use ringway_proxy::outbox::Outbox;
use ringway_proxy::timer::Timers;
use ringway_sim::faults::Severity;
use ringway_sim::network::{SimAcceptor, SimSocket};
use ringway_sim::world::run;
use ringway_sim::{Bounds, Faults, Run, SimEnv, World};

fn simulate<F: Future<Output = ()> + 'static>(seed: u64, script: impl FnOnce(World) -> F) -> Run {
    run(seed, 2, Bounds::default(), false, script)
}

fn pass(run: Run) {
    assert_eq!(run.violation, None, "seed {}:\n{}", run.seed, run.trace.last_lines(100));
}

fn violation(run: Run) -> String {
    run.violation.expect("it is a failure")
}

/// A connection between two peers on a perfect network.
async fn pair(world: &World) -> (SimSocket, SimSocket) {
    let acceptor = world.peer(1).listen(80);
    let near = world.peer(2).connect(acceptor.local()).await.unwrap();
    acceptor.readable().await.unwrap();
    let (far, from) = acceptor.accept_here().unwrap();
    assert_eq!((from, near.remote()), (near.local(), far.local()));
    (near, far)
}

async fn write_all(socket: &SimSocket, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match socket.try_write(&[IoSlice::new(bytes)]) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn read_some(socket: &SimSocket) -> std::io::Result<Vec<u8>> {
    let mut buffer = [0; 1000];
    loop {
        socket.readable().await?;
        match socket.try_read(&mut buffer) {
            Ok(count) => return Ok(buffer[..count].to_vec()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn echo(env: SimEnv, acceptor: SimAcceptor) {
    loop {
        acceptor.readable().await.unwrap();
        let Ok((socket, _)) = acceptor.accept_here() else { continue };
        env.spawn(async move {
            while let Ok(bytes) = read_some(&socket).await {
                if bytes.is_empty() || write_all(&socket, &bytes).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Two cores echo, four clients talk, everything may go wrong.
async fn noisy(world: World) {
    // What a client sends before it reads must fit, or it and the echo wait for each other.
    let faults = world.draw(|random| Faults { buffer: (3000, 9000), ..Faults::draw(random, Severity::Both) });
    world.set_faults(faults);
    let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
    for core in 0..2 {
        let env = world.core(core);
        let acceptor = env.attach_acceptor(world.listen(address, 2)).unwrap();
        env.spawn(echo(env.clone(), acceptor));
    }
    let done = Rc::new(Cell::new(0));
    for index in 0..4 {
        let (client, done) = (world.peer(index), Rc::clone(&done));
        world.spawn(client.place(), async move {
            for round in 0..20 {
                let Ok(socket) = client.connect(address).await else { continue };
                let sent = vec![round; 3000];
                let (mut received, mut harmed) = (Vec::new(), write_all(&socket, &sent).await.is_err());
                while !harmed && received.len() < sent.len() {
                    match read_some(&socket).await {
                        Ok(bytes) if !bytes.is_empty() => received.extend(bytes),
                        _ => harmed = true,
                    }
                }
                assert!(sent.starts_with(&received), "bytes come back in order");
                assert!(!harmed || socket.harmed(), "only a fault ends it early");
            }
            done.set(done.get() + 1);
        });
    }
    while done.get() < 4 {
        world.sleep(Duration::from_secs(1)).await;
    }
    world.set_faults(Faults::none());
    let closed = world.until(Duration::from_secs(10), || world.core_connections().is_empty()).await;
    assert!(closed, "{:?}", world.core_connections());
}

#[test]
fn one_seed_decides_everything_and_another_differs() {
    let mut harmed = false;
    for seed in 0..30 {
        let once = simulate(seed, noisy);
        let again = simulate(seed, noisy);
        let other = simulate(seed + 1000, noisy);
        assert_eq!(once.trace.fingerprint(), again.trace.fingerprint(), "seed {seed}");
        assert_ne!(once.trace.fingerprint(), other.trace.fingerprint(), "seed {seed}");
        harmed |= once.trace.last_lines(400).contains("FAULT");
        pass(once);
    }
    assert!(harmed, "some run had a fault");
}

#[test]
fn a_full_buffer_blocks_the_writer_until_the_reader_reads() {
    pass(simulate(1, |world| async move {
        world.set_faults(Faults { buffer: (1000, 1000), ..Faults::none() });
        let (near, far) = pair(&world).await;
        assert_eq!(near.try_write(&[IoSlice::new(&[1; 600]), IoSlice::new(&[2; 600])]).unwrap(), 1000);
        assert_eq!(near.try_write(&[IoSlice::new(b"x")]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let blocked = world.within(Duration::from_secs(5), near.writable()).await;
        assert!(blocked.is_none(), "nothing was read, so nothing fits");
        let mut expected = vec![1; 600];
        expected.extend([2; 400]);
        assert_eq!(read_some(&far).await.unwrap(), expected);
        near.writable().await.unwrap();
        assert_eq!(near.try_write(&[IoSlice::new(b"x")]).unwrap(), 1);
    }));
}

#[test]
fn a_half_closed_stream_still_carries_the_other_direction() {
    pass(simulate(1, |world| async move {
        let (near, far) = pair(&world).await;
        write_all(&near, b"question").await.unwrap();
        near.shutdown_write().unwrap();
        assert_eq!(near.try_write(&[IoSlice::new(b"x")]).unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(read_some(&far).await.unwrap(), b"question");
        assert_eq!(read_some(&far).await.unwrap(), b"");
        write_all(&far, b"answer").await.unwrap();
        drop(far);
        assert_eq!(read_some(&near).await.unwrap(), b"answer");
        assert_eq!(read_some(&near).await.unwrap(), b"");
    }));
}

#[test]
fn a_reset_is_told_once_and_then_looks_like_an_end() {
    pass(simulate(1, |world| async move {
        let (near, far) = pair(&world).await;
        far.reset_on_close();
        drop(far);
        assert_eq!(read_some(&near).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(read_some(&near).await.unwrap(), b"");
        assert_eq!(near.try_write(&[IoSlice::new(b"x")]).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }));
}

#[test]
fn closing_with_unread_bytes_or_writing_to_the_closed_resets() {
    pass(simulate(1, |world| async move {
        let (near, far) = pair(&world).await;
        write_all(&near, b"never read").await.unwrap();
        far.readable().await.unwrap();
        drop(far);
        assert_eq!(read_some(&near).await.unwrap_err().kind(), ErrorKind::ConnectionReset);

        let (near, far) = pair(&world).await;
        drop(far);
        assert_eq!(read_some(&near).await.unwrap(), b"");
        assert_eq!(near.try_write(&[IoSlice::new(b"too late")]).unwrap(), 8);
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(near.try_write(&[IoSlice::new(b"x")]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }));
}

#[test]
fn a_closed_port_refuses_and_a_full_accept_queue_makes_wait() {
    pass(simulate(1, |world| async move {
        let address: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let client = world.peer(1);
        let refused = client.connect(address).await.err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));

        let acceptor = world.core(0).attach_acceptor(world.listen(address, 1)).unwrap();
        let first = client.connect(address).await.unwrap();
        assert!(world.within(Duration::from_secs(3), client.connect(address)).await.is_none());
        acceptor.accept_here().unwrap();
        let second = client.connect(address).await.unwrap();
        drop(acceptor);
        assert_eq!(read_some(&first).await.unwrap(), b"");
        assert_eq!(read_some(&second).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        drop(world.listen(address, 1));
        assert!(client.connect(address).await.is_err(), "a dropped socket listens no more");
    }));
}

#[test]
fn time_jumps_to_the_next_timer_and_passes_only_by_work_and_waiting() {
    let run = simulate(1, |world| async move {
        let order = Rc::new(RefCell::new(Vec::new()));
        for seconds in [3000, 1000, 2000] {
            let (order, sleep) = (Rc::clone(&order), world.sleep(Duration::from_secs(seconds)));
            world.core(0).spawn(async move {
                sleep.await;
                order.borrow_mut().push(seconds);
            });
        }
        world.sleep(Duration::from_secs(3001)).await;
        assert_eq!(*order.borrow(), [1000, 2000, 3000]);
        assert!(world.within(Duration::from_secs(1), std::future::pending::<()>()).await.is_none());
    });
    assert!((3002.0..3002.1).contains(&run.time.as_secs_f64()), "{:?}", run.time);
    pass(run);
}

#[test]
fn hangs_spins_and_panics_are_failures() {
    let waits = violation(simulate(1, |_| std::future::pending()));
    assert!(waits.contains("nothing can run"), "{waits}");
    let sleeps = violation(simulate(1, |world| async move {
        loop {
            world.sleep(Duration::from_secs(60)).await;
        }
    }));
    assert!(sleeps.contains("of virtual time"), "{sleeps}");
    let spins = violation(simulate(1, |world| async move {
        let core = world.core(1);
        core.spawn(async move {
            loop {
                world.pause().await;
            }
        });
        std::future::pending().await
    }));
    assert!(spins.contains("task 1 of core 1 spins"), "{spins}");
    let panics = violation(simulate(1, |world| async move {
        world.core(0).spawn(async { panic!("on purpose") });
        world.sleep(Duration::from_secs(1)).await;
    }));
    assert!(panics.contains("on purpose"), "{panics}");
}

#[test]
fn mail_reaches_both_cores_in_order_and_late() {
    pass(simulate(1, |world| async move {
        world.set_faults(Faults { mail_max: Duration::from_millis(20), ..Faults::none() });
        let received = Rc::new(RefCell::new(vec![Vec::new(), Vec::new()]));
        for core in 0..2 {
            let (env, received) = (world.core(core), Rc::clone(&received));
            assert_eq!((env.core().index, env.core().count), (core, 2));
            env.clone().spawn(async move {
                while let Some(message) = env.receive().await {
                    let Message::Unlisten(bind, _) = message else { continue };
                    received.borrow_mut()[core].push(bind.port);
                }
                received.borrow_mut()[core].push(u16::MAX);
            });
        }
        for port in 0..50 {
            for core in 0..2 {
                // Half come from the outside, half from the other core.
                let bind = Bind { address: None, port, transport: Transport::Tcp };
                world.core(1 - core).post(core, Message::Unlisten(bind, flume::unbounded().0));
            }
        }
        assert!(received.borrow().iter().all(Vec::is_empty), "nothing arrives before anybody runs");
        world.sleep(Duration::from_secs(2)).await;
        world.close_mailboxes();
        world.sleep(Duration::from_secs(1)).await;
        let expected: Vec<u16> = (0..50).chain([u16::MAX]).collect();
        assert_eq!(*received.borrow(), [expected.clone(), expected]);
    }));
}

#[test]
fn several_listeners_of_one_address_share_its_connections() {
    pass(simulate(1, |world| async move {
        let any: SocketAddr = "[::]:80".parse().unwrap();
        let acceptors = [0, 1].map(|core| world.core(core).attach_acceptor(world.listen(any, 100)).unwrap());
        let mut clients = Vec::new();
        for address in ["10.0.0.1:80", "[fd00::1]:80"].iter().cycle().take(40) {
            clients.push(world.peer(1).connect(address.parse().unwrap()).await.unwrap());
        }
        let counts = acceptors.map(|acceptor| std::iter::from_fn(|| acceptor.accept_here().ok()).count());
        assert_eq!(counts.iter().sum::<usize>(), 40);
        assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
    }));
}

#[test]
fn datagrams_are_lost_copied_and_reordered_and_a_closed_port_is_told() {
    pass(simulate(1, |world| async move {
        let server = world.peer(1).bind_datagrams(53);
        let client = world.peer(2).connect_datagrams(server.local()).unwrap();
        world.set_faults(Faults {
            datagram_loss: 200_000,
            datagram_copies: 200_000,
            latency_max: Duration::from_millis(1),
            ..Faults::none()
        });
        let mut received = Vec::new();
        for number in 0..200u8 {
            client.try_send(&[number; 10], None, None).unwrap();
            world.sleep(Duration::from_micros(300)).await;
            let mut buffer = [0; 4];
            while let Ok(datagram) = server.try_receive(&mut buffer) {
                assert_eq!((datagram.length, datagram.from), (4, client.local()));
                received.push(buffer[0]);
            }
        }
        let mut unique = received.clone();
        unique.sort_unstable();
        unique.dedup();
        assert!((100..190).contains(&unique.len()), "some were lost: {}", unique.len());
        assert!(received.len() > unique.len(), "some came twice");
        assert!(!received.is_sorted(), "some overtook");

        world.set_faults(Faults::none());
        drop(server);
        client.try_send(b"anybody?", None, None).unwrap();
        client.readable().await.unwrap();
        assert_eq!(client.try_receive(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }));
}

#[test]
fn names_resolve_to_what_the_script_says() {
    pass(simulate(1, |world| async move {
        world.name("backend.test", vec!["10.1.0.1".parse().unwrap()]);
        assert_eq!(world.core(0).resolve("backend.test").await.unwrap(), [world.peer(1).address()]);
        assert_eq!(world.core(0).resolve("other.test").await.unwrap_err().kind(), ErrorKind::NotFound);
        world.name("backend.test", vec![]);
        assert!(world.core(0).resolve("backend.test").await.is_err());
    }));
}

#[test]
fn a_wait_of_the_proxy_is_not_prolonged_by_readiness_without_bytes() {
    pass(simulate(31, |world| async move {
        let (near, _far) = pair(&world).await;
        let (env, timers, buffers) = (world.peer(2), Timers::new(), Buffers::default());
        let turning = timers.clone();
        env.spawn({
            let env = env.clone();
            async move { turning.run(&env).await }
        });
        world.set_faults(Faults { spurious: 500_000, ..Faults::none() });
        let link = Link::plain(env, near, &timers, &Rc::new(Outbox::new(Turns::default())));
        for _ in 0..20 {
            let began = world.now();
            let waited = link.first_fill(&buffers, Duration::from_secs(10)).await;
            assert!(matches!(waited, Err(LinkError::Idle)));
            assert!(link.fill(&mut buffers.take(), Duration::from_secs(10)).await.is_err());
            let took = world.now().since(began);
            assert!(took < Duration::from_secs(21), "{took:?}");
        }
    }));
}

#[test]
fn what_is_put_off_arrives_whole_and_in_order_however_little_the_socket_takes() {
    const PATIENCE: Duration = Duration::from_secs(10);
    for seed in 0..20 {
        pass(simulate(seed, |world| async move {
            let (near, far) = pair(&world).await;
            let (env, timers) = (world.peer(2), Timers::new());
            let outbox = Rc::new(Outbox::new(Turns::always_full()));
            let link = Link::plain(env.clone(), near, &timers, &outbox);
            env.spawn({
                let env = env.clone();
                async move { outbox.run(&env).await }
            });
            world.set_faults(Faults { short_writes: 500_000, write_stalls: 200_000, ..Faults::none() });
            let sent: Vec<u8> = (0..200_000_u32).map(|byte| (byte % 251) as u8).collect();
            let expected = sent.clone();
            env.spawn(async move {
                for piece in sent.chunks(3_001) {
                    link.gather(&piece[..1], &piece[1..], PATIENCE).await.unwrap();
                    link.flush_gathered(PATIENCE).await.unwrap();
                }
                link.finish(PATIENCE).await.unwrap();
            });
            let (mut received, mut buffer) = (Vec::new(), [0; 1_000]);
            loop {
                far.readable().await.unwrap();
                match far.try_read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => received.extend_from_slice(&buffer[..count]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
            assert!(received == expected, "{} bytes of {}", received.len(), expected.len());
        }));
    }
}
