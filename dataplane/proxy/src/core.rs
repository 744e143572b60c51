//! Runs one core: does what its mailbox says until the mailbox closes.

use std::collections::BTreeMap;
use std::rc::Rc;

use ringway_config::{Bind, Transport};

use crate::accept::accept;
use crate::env::Env;
use crate::mailbox::Message;
use crate::signal::Signal;
use crate::snapshot::Snapshot;
use crate::worker::{Settings, Worker};

/// Serves until the mailbox closes.
pub async fn run<E: Env>(env: E, settings: Settings, snapshot: &Snapshot) {
    let worker = Worker::new(env, settings, snapshot);
    let mut stops: BTreeMap<Bind, Vec<Rc<Signal>>> = BTreeMap::new();
    {
        let worker = Rc::clone(&worker);
        worker.env.clone().spawn(async move { worker.timers.run(&worker.env).await });
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
                let stop = Rc::new(Signal::default());
                if listen(&worker, bind, socket, &stop) {
                    stops.entry(bind).or_default().push(stop);
                }
            }
            Message::Unlisten(bind) => {
                stops.remove(&bind).into_iter().flatten().for_each(|stop| stop.notify());
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
                std::mem::take(&mut stops).into_values().flatten().for_each(|stop| stop.notify());
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

fn listen<E: Env>(worker: &Rc<Worker<E>>, bind: Bind, socket: E::Unattached, stop: &Rc<Signal>) -> bool {
    let attached = match bind.transport {
        Transport::Tcp => worker.env.attach_acceptor(socket).map(|acceptor| {
            worker.env.spawn(accept(Rc::clone(worker), bind, acceptor, Rc::clone(stop)));
        }),
        Transport::Udp => worker.env.attach_datagrams(socket).map(|datagrams| {
            worker.env.spawn(crate::udp::serve(Rc::clone(worker), bind, datagrams, Rc::clone(stop)));
        }),
    };
    if let Err(error) = &attached {
        tracing::error!(%error, port = bind.port, "a core cannot serve a socket it was given");
    }
    attached.is_ok()
}
