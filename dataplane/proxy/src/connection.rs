//! The beginning of a connection: PROXY header, TLS, and which protocol follows.
//!
//! Whatever is rare is boxed: a connection's memory is the size of its future, and most are idle HTTP/1.
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
pub async fn serve<E: Env>(
    worker: &Rc<Worker<E>>,
    bind: Bind,
    socket: E::Socket,
    mut counted: Box<ClientConnection<E>>,
) {
    if let Some(waiting) = enter_process(worker, &mut counted) {
        counted.token = waiting.await;
    }
    if counted.token.is_none() {
        worker.hit(Limit::Connections);
        return socket.reset_on_close();
    }
    let view = worker.view();
    // The listener may have gone since the connection was made.
    let Some(kind) = view.compiled().bind_kind(&bind) else { return };
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
            _ => return worker.count(Event::HandshakeFailed),
        }
    }
    // A proxy that is trusted speaks for many clients.
    if !worker.trusted.contains(arrival.client.ip()) {
        if let Some(asking) = enter_client(worker, arrival.client.ip(), until, &mut counted) {
            counted.place = asking.await;
        }
        if counted.place.is_none() {
            worker.hit(Limit::ConnectionsPerClient);
            return socket.reset_on_close();
        }
    }
    match kind {
        BindKind::Http => {
            let link = Link::plain(worker.env.clone(), socket, &worker.timers);
            link.count_as(counted);
            serve_cleartext(worker, link, arrival, inbox).await;
        }
        BindKind::Tcp => {
            let link = Link::plain(worker.env.clone(), socket, &worker.timers);
            link.count_as(counted);
            Box::pin(tcp::serve(worker, link, Rc::new(arrival), inbox)).await;
        }
        BindKind::Tls => Box::pin(serve_tls(worker, socket, arrival, inbox, until, counted)).await,
        BindKind::Udp => {}
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
async fn serve_cleartext<E: Env>(
    worker: &Rc<Worker<E>>,
    link: Rc<Link<E>>,
    arrival: Arrival,
    mut inbox: Option<Buffer>,
) {
    let arrival = Rc::new(arrival);
    // A drain leaves a new connection the time to bring its first request: who just came was promised to be served.
    let mut fresh = true;
    loop {
        match inbox.as_ref().and_then(|inbox| sniff::cleartext(inbox.filled())) {
            Some(Cleartext::Http1) => return http1::serve_connection(worker, link, arrival, inbox).await,
            Some(Cleartext::Http2) => {
                return Box::pin(http2::serve_connection(worker, link, arrival, inbox)).await;
            }
            None => {}
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
                    Some(Err(LinkError::Idle)) => return worker.hit(Limit::Idle),
                    Some(Ok(None) | Err(LinkError::Broken)) => return,
                    None => match link.fill_now(&worker.buffers) {
                        Some(buffer) => inbox = Some(buffer),
                        None => return,
                    },
                }
            }
            // A part of the preface, or of an HTTP/1 method that begins like it.
            Some(buffer) => match link.fill(buffer, worker.limits.header_read_timeout).await {
                Ok(1..) => {}
                Err(LinkError::Idle) => return worker.hit(Limit::HeaderRead),
                Ok(0) | Err(LinkError::Broken) => return,
            },
        }
    }
}

async fn serve_tls<E: Env>(
    worker: &Rc<Worker<E>>,
    socket: E::Socket,
    mut arrival: Arrival,
    inbox: Option<Buffer>,
    until: Instant,
    counted: Box<ClientConnection<E>>,
) {
    let deadline = worker.timers.deadline();
    let beginning = Box::pin(deadline.within(until, begin_tls(worker, socket, &mut arrival, inbox)));
    let Ok(begun) = beginning.await else {
        worker.hit(Limit::Handshake);
        return worker.count(Event::HandshakeFailed);
    };
    match begun {
        Err(reason) => {
            tracing::debug!(reason, "TLS handshake failed");
            worker.count(Event::HandshakeFailed);
        }
        Ok(Begun::Passthrough { socket, received }) => {
            let link = Link::plain(worker.env.clone(), socket, &worker.timers);
            link.count_as(counted);
            let inbox = worker.buffers.holding(received);
            Box::pin(tcp::serve(worker, link, Rc::new(arrival), Some(inbox))).await;
        }
        Ok(Begun::Terminated { socket, session, listener }) => {
            worker.count(Event::HandshakeDone);
            let facts = session.facts().cloned();
            let link = Link::secure(worker.env.clone(), socket, &worker.timers, session);
            link.count_as(counted);
            arrival.scheme = Scheme::Https;
            arrival.listener = Some(listener.key.clone());
            arrival.peer = facts.as_ref().and_then(|facts| facts.peer.clone());
            let arrival = Rc::new(arrival);
            let alpn = facts.and_then(|facts| facts.alpn);
            match (&listener.protocol, alpn) {
                (ListenerProtocol::Https(_), Some(Alpn::Http2)) => {
                    Box::pin(http2::serve_connection(worker, link, arrival, None)).await;
                }
                (ListenerProtocol::Https(_), _) => http1::serve_connection(worker, link, arrival, None).await,
                _ => Box::pin(tcp::serve(worker, link, arrival, None)).await,
            }
        }
    }
}

/// What a TLS connection has become.
enum Begun<E: Env> {
    /// It is passed on, with what was read of it.
    Passthrough { socket: E::Socket, received: Vec<u8> },
    /// Its handshake is done.
    Terminated { socket: E::Socket, session: TlsSession, listener: Arc<Listener> },
}

async fn begin_tls<E: Env>(
    worker: &Worker<E>,
    socket: E::Socket,
    arrival: &mut Arrival,
    inbox: Option<Buffer>,
) -> Result<Begun<E>, &'static str> {
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
        }
    };
    let Some((listener, terminate)) = choice else { return refuse(&socket, &session).await };
    if !terminate {
        arrival.listener = Some(listener.key.clone());
        return Ok(Begun::Passthrough { socket, received: session.into_inner().into_received() });
    }
    let Some(server) = worker.tls().server(&listener.key).map(Arc::clone) else {
        return refuse(&socket, &session).await;
    };
    session.borrow_mut().choose(&server).map_err(|_| "configuration")?;
    match shake_hands(&socket, &session).await {
        Ok(Handshake::Done) => Ok(Begun::Terminated { socket, session: session.into_inner(), listener }),
        Ok(Handshake::Hello(_) | Handshake::Wait) | Err(_) => Err("handshake"),
    }
}

/// No listener is for this name: an alert says so.
async fn refuse<E: Env, S: Socket>(
    socket: &S,
    session: &RefCell<TlsSession>,
) -> Result<Begun<E>, &'static str> {
    session.borrow_mut().refuse();
    let _ = shake_hands(socket, session).await;
    Err("unrecognized_name")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Machine, size_of_future};

    /// What a busy HTTP/1 connection may take. An idle one is parked, which takes far less (see `http1`).
    const BUSY_BYTES_MAX: usize = 5 << 10;

    type Begin = (Rc<Worker<Machine>>, Bind, <Machine as Env>::Socket, Box<ClientConnection<Machine>>);

    #[test]
    fn a_busy_connection_fits_into_5_kib() {
        let size = size_of_future(|(worker, bind, socket, counted): Begin| async move {
            serve(&worker, bind, socket, counted).await;
        });
        assert!(size <= BUSY_BYTES_MAX, "{size} bytes");
    }
}
