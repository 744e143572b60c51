//! The beginning of a connection: PROXY header, TLS, and which protocol follows.
//!
//! What it leaves is a task as large as waiting for a request: a connection's memory is the size of its future, and most
//! are idle HTTP/1. So the beginning has a room that the core lends, and whatever is rare is boxed.
//!
//! Everything here is bounded by one deadline (`handshake_timeout`). What follows is `http1`, `http2` or `tcp`.

use std::cell::RefCell;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use ringway_config::{Bind, Listener, ListenerProtocol};
use ringway_core::headers::TrustedProxies;
use ringway_core::proxy_protocol::{ProxyHeader, parse_proxy_header};
use ringway_core::record::{Event, Limit};
use ringway_core::sniff::{self, Cleartext};
use ringway_core::{Arrival, BindKind, Instant, Scheme, SniChoice};

use crate::admission::{ClientPlace, Grant, Token};
use crate::buffer::Buffer;
use crate::env::{Env, Socket};
use crate::link::{Link, LinkError, shake_hands};
use crate::tls::{Alpn, Handshake, TlsSession};
use crate::worker::{ClientConnection, Worker};
use crate::{http1, http2, tcp};

/// Serves a connection from its first byte to its last.
///
/// The task is as large as waiting for a request: its beginning has a room, and what serves a request has another.
pub fn serve<E: Env>(
    worker: Rc<Worker<E>>,
    bind: Bind,
    socket: E::Socket,
    counted: Box<ClientConnection<E>>,
) -> impl Future<Output = ()> + 'static {
    let beginning = worker.beginnings.enter(begin(Rc::clone(&worker), bind, socket, counted));
    async move {
        let Some(Begun { protocol, link, arrival, inbox }) = beginning.await else { return };
        match protocol {
            Protocol::Http1 => http1::serve_connection(&worker, link, arrival, inbox).await,
            Protocol::Http2 => Box::pin(http2::serve_connection(&worker, link, arrival, inbox)).await,
            Protocol::Bytes => Box::pin(tcp::serve(&worker, link, arrival, inbox)).await,
        }
    }
}

/// A connection of which it is known what it speaks.
struct Begun<E: Env> {
    protocol: Protocol,
    link: Rc<Link<E>>,
    arrival: Rc<Arrival>,
    /// What was read to learn it.
    inbox: Option<Buffer>,
}

/// What follows the beginning.
enum Protocol {
    Http1,
    Http2,
    /// Nothing that we read.
    Bytes,
}

/// Learns what a connection speaks; `None` if it is over.
async fn begin<E: Env>(
    worker: Rc<Worker<E>>,
    bind: Bind,
    socket: E::Socket,
    mut counted: Box<ClientConnection<E>>,
) -> Option<Begun<E>> {
    let worker = &worker;
    if let Some(waiting) = enter_process(worker, &mut counted) {
        counted.token = waiting.await;
    }
    if counted.token.is_none() {
        worker.hit(Limit::Connections);
        socket.reset_on_close();
        return None;
    }
    let view = worker.view();
    // The listener may have gone since the connection was made.
    let kind = view.compiled().bind_kind(&bind)?;
    let proxied = view.compiled().expects_proxy_protocol(&bind);
    drop(view);
    let until = worker.env.now() + worker.limits.handshake_timeout;
    let client = socket.remote();
    let mut arrival = Arrival {
        bind,
        local: socket.local(),
        original_destination: socket.original_destination(),
        client,
        trusted: worker.trusted.contains(client.ip()),
        scheme: Scheme::Http,
        sni: None,
        listener: None,
        peer: None,
    };
    let deadline = worker.timers.deadline();
    let mut inbox = None;
    if proxied {
        match Box::pin(deadline.within(until, read_proxy_header(worker, &socket, &mut inbox))).await {
            Ok(Some(header)) => take_over(&mut arrival, header, &worker.trusted),
            _ => {
                worker.count(Event::HandshakeFailed);
                return None;
            }
        }
    }
    // A proxy that is trusted speaks for many clients.
    if !worker.trusted.contains(arrival.client.ip()) {
        if let Some(asking) = enter_client(worker, arrival.client.ip(), until, &mut counted) {
            counted.place = asking.await;
        }
        if counted.place.is_none() {
            worker.hit(Limit::ConnectionsPerClient);
            socket.reset_on_close();
            return None;
        }
    }
    match kind {
        BindKind::Http => {
            let link = Link::plain(worker.env.clone(), socket, &worker.timers, &worker.outbox);
            link.count_as(counted);
            sniff_cleartext(worker, link, arrival, inbox).await
        }
        BindKind::Tcp => {
            let link = Link::plain(worker.env.clone(), socket, &worker.timers, &worker.outbox);
            link.count_as(counted);
            Some(Begun { protocol: Protocol::Bytes, link, arrival: Rc::new(arrival), inbox })
        }
        BindKind::Tls => Box::pin(begin_tls(worker, socket, arrival, inbox, until, counted)).await,
        BindKind::Udp => None,
    }
}

/// Takes a place among the connections of the process; or says how to wait for one.
fn enter_process<'w, E: Env>(
    worker: &'w Worker<E>,
    counted: &mut ClientConnection<E>,
) -> Option<Pin<Box<impl Future<Output = Option<Token<E>>> + use<'w, E>>>> {
    let waiting = match worker.admission.process.take() {
        Ok(token) => {
            counted.token = Some(token);
            return None;
        }
        Err(waiting) => waiting,
    };
    Some(Box::pin(async move {
        let until = worker.env.now() + worker.limits.handshake_timeout;
        match worker.timers.deadline().within(until, waiting).await {
            Ok(Ok(Grant::Token(token))) => Some(token),
            _ => None,
        }
    }))
}

/// Takes a place among the connections of a client; or says how to wait for one.
fn enter_client<E: Env>(
    worker: &Rc<Worker<E>>,
    client: IpAddr,
    until: Instant,
    counted: &mut ClientConnection<E>,
) -> Option<Pin<Box<impl Future<Output = Option<ClientPlace<E>>> + use<E>>>> {
    let asking = match worker.arrive(client) {
        Ok(place) => {
            counted.place = place;
            return None;
        }
        Err(asking) => asking,
    };
    let deadline = worker.timers.deadline();
    Some(Box::pin(async move { deadline.within(until, asking).await.ok().flatten() }))
}

/// What came by PROXY protocol is believed: the listener asks for it. The forwarded fields behind it are the client's own,
/// so they are believed only if that client is trusted.
fn take_over(arrival: &mut Arrival, header: ProxyHeader, trusted: &TrustedProxies) {
    if let Some(told) = header.told {
        arrival.client = told.source;
        arrival.local = told.destination;
        arrival.trusted = trusted.contains(told.source.ip());
    }
}

async fn read_proxy_header<E: Env>(
    worker: &Worker<E>,
    socket: &E::Socket,
    inbox: &mut Option<Buffer>,
) -> Option<ProxyHeader> {
    let mut buffer = worker.buffers.take();
    loop {
        match parse_proxy_header(buffer.filled()) {
            Ok(Some(header)) => {
                buffer.consume(header.consumed);
                if !buffer.is_empty() {
                    *inbox = Some(buffer);
                }
                return Some(header);
            }
            Ok(None) => {}
            Err(_) => return None,
        }
        socket.readable().await.ok()?;
        match socket.try_read(buffer.space()) {
            Ok(0) => return None,
            Ok(count) => buffer.advance(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

/// HTTP without TLS: the first bytes tell HTTP/2 by prior knowledge from HTTP/1.
async fn sniff_cleartext<E: Env>(
    worker: &Rc<Worker<E>>,
    link: Rc<Link<E>>,
    arrival: Arrival,
    mut inbox: Option<Buffer>,
) -> Option<Begun<E>> {
    // A drain leaves a new connection the time to bring its first request: who just came was promised to be served.
    let mut fresh = true;
    loop {
        if let Some(found) = inbox.as_ref().and_then(|inbox| sniff::cleartext(inbox.filled())) {
            let protocol = match found {
                Cleartext::Http1 => Protocol::Http1,
                Cleartext::Http2 => Protocol::Http2,
            };
            return Some(Begun { protocol, link, arrival: Rc::new(arrival), inbox });
        }
        match &mut inbox {
            // Nothing came yet: an idle connection holds no buffer, and may stay as long as any idle one.
            None => {
                let limits = &worker.limits;
                let patience = if fresh { limits.header_read_timeout } else { limits.idle_timeout };
                let first = link.first_fill(&worker.buffers, patience);
                match worker.drain.unless_draining_if(!fresh, first).await {
                    Some(Ok(Some(buffer))) => inbox = Some(buffer),
                    Some(Err(LinkError::Idle)) if fresh => fresh = false,
                    Some(Err(LinkError::Idle)) => {
                        worker.hit(Limit::Idle);
                        return None;
                    }
                    Some(Ok(None) | Err(LinkError::Broken)) => return None,
                    None => inbox = Some(link.fill_now(&worker.buffers)?),
                }
            }
            // A part of the preface, or of an HTTP/1 method that begins like it.
            Some(buffer) => match link.fill(buffer, worker.limits.header_read_timeout).await {
                Ok(1..) => {}
                Err(LinkError::Idle) => {
                    worker.hit(Limit::HeaderRead);
                    return None;
                }
                Ok(0) | Err(LinkError::Broken) => return None,
            },
        }
    }
}

async fn begin_tls<E: Env>(
    worker: &Rc<Worker<E>>,
    socket: E::Socket,
    mut arrival: Arrival,
    inbox: Option<Buffer>,
    until: Instant,
    counted: Box<ClientConnection<E>>,
) -> Option<Begun<E>> {
    let deadline = worker.timers.deadline();
    let opening = Box::pin(deadline.within(until, open_tls(worker, socket, &mut arrival, inbox)));
    let Ok(opened) = opening.await else {
        worker.hit(Limit::Handshake);
        worker.count(Event::HandshakeFailed);
        return None;
    };
    match opened {
        Err(reason) => {
            tracing::debug!(reason, "TLS handshake failed");
            worker.count(Event::HandshakeFailed);
            None
        }
        Ok(Opened::Passthrough { socket, received }) => {
            let link = Link::plain(worker.env.clone(), socket, &worker.timers, &worker.outbox);
            link.count_as(counted);
            let inbox = Some(worker.buffers.holding(received));
            Some(Begun { protocol: Protocol::Bytes, link, arrival: Rc::new(arrival), inbox })
        }
        Ok(Opened::Terminated { socket, session, listener }) => {
            worker.count(Event::HandshakeDone);
            let facts = session.facts().cloned();
            let link = Link::secure(worker.env.clone(), socket, &worker.timers, &worker.outbox, session);
            link.count_as(counted);
            arrival.scheme = Scheme::Https;
            arrival.listener = Some(listener.key.clone());
            arrival.peer = facts.as_ref().and_then(|facts| facts.peer.clone());
            let protocol = match (&listener.protocol, facts.and_then(|facts| facts.alpn)) {
                (ListenerProtocol::Https(_), Some(Alpn::Http2)) => Protocol::Http2,
                (ListenerProtocol::Https(_), _) => Protocol::Http1,
                _ => Protocol::Bytes,
            };
            Some(Begun { protocol, link, arrival: Rc::new(arrival), inbox: None })
        }
    }
}

/// What a TLS connection has become.
enum Opened<E: Env> {
    /// It is passed on, with what was read of it.
    Passthrough { socket: E::Socket, received: Vec<u8> },
    /// Its handshake is done.
    Terminated { socket: E::Socket, session: TlsSession, listener: Arc<Listener> },
}

async fn open_tls<E: Env>(
    worker: &Worker<E>,
    socket: E::Socket,
    arrival: &mut Arrival,
    inbox: Option<Buffer>,
) -> Result<Opened<E>, &'static str> {
    let mut session = TlsSession::accepting();
    if let Some(inbox) = inbox {
        let mut unread = inbox.filled();
        let mut give = |room: &mut [u8]| std::io::Read::read(&mut unread, room);
        session.fill(&mut give).map_err(|_| "hello")?;
        if !unread.is_empty() {
            return Err("hello");
        }
    }
    let session = RefCell::new(session);
    let hello = match shake_hands(&socket, &session).await {
        Ok(Handshake::Hello(hello)) => hello,
        Ok(Handshake::Done | Handshake::Wait) | Err(_) => return Err("hello"),
    };
    arrival.sni = hello.sni.clone();
    let choice = {
        let view = worker.view();
        match view.listener_for_sni(&arrival.bind, hello.sni.as_deref()) {
            SniChoice::Terminate(listener) => Some((Arc::clone(listener), true)),
            SniChoice::Passthrough(listener) => Some((Arc::clone(listener), false)),
            SniChoice::Refuse => None,
            SniChoice::Close => return Err("unrecognized_name"),
        }
    };
    let Some((listener, terminate)) = choice else { return refuse(&socket, &session).await };
    if !terminate {
        arrival.listener = Some(listener.key.clone());
        return Ok(Opened::Passthrough { socket, received: session.into_inner().into_received() });
    }
    let Some(server) = worker.tls().server(&listener.key).map(Arc::clone) else {
        return refuse(&socket, &session).await;
    };
    session.borrow_mut().choose(&server).map_err(|_| "configuration")?;
    match shake_hands(&socket, &session).await {
        Ok(Handshake::Done) => Ok(Opened::Terminated { socket, session: session.into_inner(), listener }),
        Ok(Handshake::Hello(_) | Handshake::Wait) | Err(_) => Err("handshake"),
    }
}

/// No listener is for this name: an alert says so.
async fn refuse<E: Env, S: Socket>(
    socket: &S,
    session: &RefCell<TlsSession>,
) -> Result<Opened<E>, &'static str> {
    session.borrow_mut().refuse();
    let _ = shake_hands(socket, session).await;
    Err("unrecognized_name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Machine, size_of_future};

    /// What an HTTP/1 connection's task may take, beside its link and its arrival.
    const IDLE_BYTES_MAX: usize = 640;
    /// What its beginning may take: as much for each connection that has just come.
    const BEGINNING_BYTES_MAX: usize = 1536;

    type Start = (Rc<Worker<Machine>>, Bind, <Machine as Env>::Socket, Box<ClientConnection<Machine>>);

    #[test]
    fn the_task_of_a_connection_is_small() {
        let size =
            size_of_future(|(worker, bind, socket, counted): Start| serve(worker, bind, socket, counted));
        assert!(size <= IDLE_BYTES_MAX, "{size} bytes");
        let size =
            size_of_future(|(worker, bind, socket, counted): Start| begin(worker, bind, socket, counted));
        assert!(size <= BEGINNING_BYTES_MAX, "{size} bytes");
    }
}
