//! Runs one core: does what its mailbox says until the mailbox closes.

use std::collections::BTreeMap;
use std::rc::Rc;

use ringway_config::{Bind, Transport};

use crate::accept::{accept, serve_accepted};
use crate::env::Env;
use crate::mailbox::Message;
use crate::signal::Signal;
use crate::snapshot::Snapshot;
use crate::worker::{Settings, Worker};

/// Serves until the mailbox closes.
pub async fn run<E: Env>(env: E, settings: Settings, snapshot: &Snapshot) {
    let worker = Worker::new(env, settings, snapshot);
    let mut served: BTreeMap<Bind, Vec<Served>> = BTreeMap::new();
    {
        let worker = Rc::clone(&worker);
        worker.env.clone().spawn(async move { worker.timers.run(&worker.env).await });
    }
    {
        let worker = Rc::clone(&worker);
        worker.env.clone().spawn(async move { worker.outbox.run(&worker.env).await });
    }
    worker.env.spawn(Rc::clone(&worker).expire());
    worker.env.spawn(Rc::clone(&worker).readmit());
    while let Some(message) = worker.env.receive().await {
        match message {
            Message::Configure(snapshot, done) => {
                worker.configure(&snapshot);
                // Whoever asked may have gone.
                let _ = done.try_send(());
            }
            Message::Listen { bind, socket } => {
                if let Some(socket) = listen(&worker, bind, socket) {
                    served.entry(bind).or_default().push(socket);
                }
            }
            Message::Connection { bind, socket, from } => serve_accepted(&worker, bind, socket, from),
            Message::ConnectionEnded => worker.lent_ended(),
            Message::Unlisten(bind, done) => {
                let sockets = served.remove(&bind).unwrap_or_default();
                sockets.iter().for_each(|socket| socket.stop.notify());
                worker.env.spawn(async move {
                    for socket in sockets {
                        socket.closed.wait().await;
                    }
                    let _ = done.try_send(());
                });
            }
            Message::Report(to) => {
                let _ = to.try_send(worker.report());
            }
            Message::LimitToHome { limit, core, terms, message } => {
                worker.limit_to_home(&limit, core, terms, message);
            }
            Message::LimitToCore { limit, message } => worker.limit_to_core(limit, message),
            Message::ClientsToHome { core, message } => worker.heard_of_clients(core, message),
            Message::ClientsToCore(message) => worker.told_of_clients(message),
            Message::Observed { cluster, core, report } => worker.heard_report(&cluster, core, report),
            Message::News { cluster, news } => worker.heard_news(&cluster, news),
            Message::Retire => worker.drain.retire(),
            Message::Drain(done) => {
                let sockets = std::mem::take(&mut served).into_values().flatten();
                sockets.for_each(|socket| socket.stop.notify());
                worker.drain.begin();
                let worker = Rc::clone(&worker);
                worker.env.clone().spawn(async move {
                    worker.drain.emptied().await;
                    worker.flush_log();
                    let _ = done.try_send(());
                });
            }
        }
    }
}

/// A socket that is being served.
struct Served {
    stop: Rc<Signal>,
    closed: Rc<Signal>,
}

/// Tells that a socket is closed, however serving it ended.
struct TellClosed(Rc<Signal>);

impl Drop for TellClosed {
    fn drop(&mut self) {
        self.0.notify();
    }
}

fn listen<E: Env>(worker: &Rc<Worker<E>>, bind: Bind, socket: E::Unattached) -> Option<Served> {
    let (stop, closed) = (Rc::new(Signal::default()), Rc::new(Signal::default()));
    let tell = TellClosed(Rc::clone(&closed));
    let attached = match bind.transport {
        Transport::Tcp => worker.env.attach_acceptor(socket).map(|acceptor| {
            let serving = accept(Rc::clone(worker), bind, acceptor, Rc::clone(&stop));
            worker.env.spawn(then_tell(serving, tell));
        }),
        Transport::Udp => worker.env.attach_datagrams(socket).map(|datagrams| {
            let serving = crate::udp::serve(Rc::clone(worker), bind, datagrams, Rc::clone(&stop));
            worker.env.spawn(then_tell(serving, tell));
        }),
    };
    if let Err(error) = &attached {
        tracing::error!(%error, port = bind.port, "a core cannot serve a socket it was given");
    }
    attached.ok().map(|()| Served { stop, closed })
}

/// The future owns the socket: it is closed when the await is over.
async fn then_tell(serving: impl Future<Output = ()>, tell: TellClosed) {
    serving.await;
    drop(tell);
}
