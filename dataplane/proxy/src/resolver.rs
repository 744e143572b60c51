//! Resolves names off the data path: a few threads that call the machine's resolver, with a bounded queue.
//!
//! It never runs on a core: `getaddrinfo` blocks. A full queue is an error, so that a dead name server cannot make
//! requests pile up here.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};

/// Names that wait for a thread. Further ones fail at once and are asked again at the next refresh.
const QUEUE_MAX: usize = 256;
const THREADS: usize = 2;

/// A handle to the resolver threads; they end when the last handle is dropped.
#[derive(Clone)]
pub struct Resolver(flume::Sender<Query>);

struct Query {
    host: String,
    answer: flume::Sender<io::Result<Vec<IpAddr>>>,
}

impl Resolver {
    /// Starts the threads.
    pub fn start() -> io::Result<Self> {
        let (sender, receiver) = flume::bounded::<Query>(QUEUE_MAX);
        for index in 0..THREADS {
            let receiver = receiver.clone();
            std::thread::Builder::new().name(format!("resolve-{index}")).spawn(move || {
                while let Ok(query) = receiver.recv() {
                    let _ = query.answer.send(look_up(&query.host));
                }
            })?;
        }
        Ok(Self(sender))
    }

    /// The addresses of a name, sorted; an empty answer is an error.
    pub async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let (answer, result) = flume::bounded(1);
        let query = Query { host: host.to_owned(), answer };
        self.0.try_send(query).map_err(|_| io::Error::other("too many names wait to be resolved"))?;
        result.recv_async().await.unwrap_or_else(|_| Err(io::Error::other("the resolver has ended")))
    }
}

fn look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = (host, 0).to_socket_addrs()?.map(|address| address.ip()).collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}
