//! A client and a backend that speak HTTP/2, by the h2 crate over simulated sockets.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use ringway_proxy::env::{Acceptor, Env};

use crate::checker::content::Content;
use crate::checker::http::{ANSWER, Ask, Http, ID, Outcome};
use crate::env::SimEnv;
use crate::peer::http1::{Habits, Manners, draw_ask, draw_length, pause};
use crate::peer::wire::{Io, Wire, while_first};
use crate::world::World;

/// Asks on one connection, several streams at a time.
pub async fn client(env: SimEnv, wire: impl Wire + Unpin, habits: Habits, checker: Rc<Http>) {
    let world = env.world().clone();
    let harmed = wire.socket().harm_watch();
    let mut builder = h2::client::Builder::new();
    let window = world.draw(|random| random.pick(&[1000, 65_535, 1 << 20]));
    builder.initial_window_size(window).enable_push(false);
    // The h2 crate waits for no answer here: what the other side says comes with the first stream.
    let Ok((sender, connection)) = builder.handshake::<_, Bytes>(Io(wire)).await else { return };
    let over = Rc::new(Cell::new(false));
    {
        let (over, world) = (Rc::clone(&over), world.clone());
        env.spawn(async move {
            if let Err(error) = connection.await {
                world.note(format!("an HTTP/2 connection fails: {error}"));
            }
            over.set(true);
        });
    }
    let count = world.draw(|random| random.size(1, habits.requests_max));
    let running = Rc::new(Cell::new(0));
    for _ in 0..count {
        let parallel = habits.pipeline_max;
        let room = || running.get() < parallel || over.get();
        if !world.until(habits.patience, room).await {
            return world.violated(format!("no answer on an HTTP/2 connection after {:?}", habits.patience));
        }
        if over.get() {
            break;
        }
        pause(&world, habits.pause_max).await;
        running.set(running.get() + 1);
        let ask = draw_ask(&world, &habits, &checker);
        let (world, habits, checker) = (world.clone(), habits.clone(), Rc::clone(&checker));
        let (running, harmed, sender) = (Rc::clone(&running), harmed.clone(), sender.clone());
        env.spawn(async move {
            let exchange = exchange(&world, sender, &habits, ask, &checker);
            match world.within(habits.patience, exchange).await {
                Some(Ok(outcome)) => checker.outcome(ask, outcome),
                Some(Err(error)) => {
                    world.note(format!("request {}: {error}", ask.id));
                    checker.outcome(ask, lost(&error, harmed()));
                }
                None => world.violated(format!("no answer to {ask:?} after {:?}", habits.patience)),
            }
            running.set(running.get() - 1);
        });
    }
    drop(sender);
    if !world.until(habits.patience, || running.get() == 0).await {
        return;
    }
    // Without streams and senders the connection says goodbye and ends.
    if !world.until(Duration::from_secs(60), || over.get()).await {
        world.violated("an HTTP/2 connection without streams does not end");
    }
}

fn lost(error: &h2::Error, harmed: bool) -> Outcome {
    let refused = error.reason() == Some(Reason::REFUSED_STREAM);
    let goes_away = error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
    Outcome::Broken { excused: harmed, unserved: refused || goes_away || error.is_io() }
}

async fn exchange(
    world: &World,
    sender: h2::client::SendRequest<Bytes>,
    habits: &Habits,
    ask: Ask,
    checker: &Http,
) -> Result<Outcome, h2::Error> {
    let mut sender = sender.ready().await?;
    let mut request = Request::builder()
        .method(Method::from_bytes(ask.method.as_bytes()).expect("it is a method"))
        .uri(format!("http://{}{}", habits.host, ask.path()))
        .header(ID, ask.id);
    if let (Some(length), true) = (ask.body, world.draw(|random| random.chance(500_000))) {
        request = request.header("content-length", length);
    }
    let request = request.body(()).expect("the parts are well-formed");
    let (response, mut stream) = sender.send_request(request, ask.body.is_none())?;
    let sent = Cell::new(ask.body.is_none());
    let mut sending = pin!(async {
        let content = Content::of_request(ask.id);
        // If it cannot be written any more, the reader learns why.
        let _ =
            send(world, &mut stream, content, ask.body.unwrap_or(0), habits.pause_max, habits.trailers).await;
    });
    let receiving = async {
        let response = response.await?;
        receive(world, response, ask, checker).await
    };
    let received = while_first(receiving, sending.as_mut(), &sent).await;
    if received.is_ok() && !sent.get() {
        sending.await;
    }
    received
}

async fn receive(
    world: &World,
    response: Response<RecvStream>,
    ask: Ask,
    checker: &Http,
) -> Result<Outcome, h2::Error> {
    let (head, mut body) = response.into_parts();
    let answer = number(&head.headers, ANSWER);
    if answer.is_some_and(|answer| !checker.is_answer_to(ask, answer))
        || number(&head.headers, ID).is_some_and(|id| id != ask.id)
    {
        world.violated(format!("request {} got the answer of another: {:?}", ask.id, head.headers));
    }
    let mut length = 0;
    while let Some(piece) = body.data().await {
        let piece = piece?;
        if let Some(answer) = answer {
            checker.got(ask, answer, length, &piece);
        }
        length += piece.len() as u64;
        let _ = body.flow_control().release_capacity(piece.len());
    }
    let _ = body.trailers().await?;
    let status = head.status.as_u16();
    Ok(match answer {
        Some(answer) => Outcome::Answered { answer, status, length },
        None => Outcome::Refused(status),
    })
}

/// Sends a body and its end.
async fn send(
    world: &World,
    stream: &mut SendStream<Bytes>,
    content: Content,
    length: usize,
    pause_max: Duration,
    trailers: u32,
) -> Result<(), h2::Error> {
    let mut offset = 0;
    while offset < length {
        let wanted = world.draw(|random| random.size(1, (length - offset).min(16 << 10)));
        stream.reserve_capacity(wanted);
        let granted = match poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(granted) => granted?.min(length - offset),
            // The other side wants no more.
            None => return Ok(()),
        };
        if granted > 0 {
            let piece = content.bytes(offset as u64, granted).into();
            offset += granted;
            stream.send_data(piece, false)?;
        }
        pause(world, pause_max / 4).await;
    }
    if world.draw(|random| random.chance(trailers)) {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sim-trailer", http::HeaderValue::from_static("1"));
        return stream.send_trailers(trailers);
    }
    stream.send_data(Bytes::new(), true)
}

/// A backend that takes connections until the world ends.
pub fn backend(env: &SimEnv, index: u16, port: u16, manners: Manners, checker: Rc<Http>) -> SocketAddr {
    let acceptor = env.listen(port);
    let address = acceptor.local();
    let env = env.clone();
    env.clone().spawn(async move {
        loop {
            let _ = acceptor.readable().await;
            if let Ok((socket, _)) = acceptor.accept_here() {
                env.spawn(serve(env.clone(), socket, index, manners.clone(), Rc::clone(&checker)));
            }
        }
    });
    address
}

async fn serve(env: SimEnv, wire: impl Wire + Unpin, index: u16, manners: Manners, checker: Rc<Http>) {
    let world = env.world().clone();
    let streams_max = world.draw(|random| random.pick(manners.streams_max));
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams_max);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(Io(wire)).await else { return };
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => return world.note(format!("backend {index}: an HTTP/2 connection fails: {error}")),
        };
        if world.draw(|random| random.chance(manners.refuse)) {
            respond.send_reset(Reason::REFUSED_STREAM);
            continue;
        }
        if world.draw(|random| random.chance(manners.close)) {
            connection.graceful_shutdown();
            // Streams that are on their way when it closes meet a reset, which may overtake what it said of them.
            checker.may_race();
        }
        let (world, manners, checker) = (world.clone(), manners.clone(), Rc::clone(&checker));
        env.spawn(async move {
            // A stream that is reset is its client's to tell.
            let _ = answer(&world, request, respond, index, &manners, &checker).await;
        });
    }
}

async fn answer(
    world: &World,
    request: Request<RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    index: u16,
    manners: &Manners,
    checker: &Http,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let Some(id) = number(&head.headers, ID).filter(|id| head.uri.path() == format!("/r/{id}")) else {
        world.violated(format!("backend {index}: {} with {:?}", head.uri, head.headers));
        return Ok(());
    };
    let Some(ask) = checker.arrived(index, id, head.method.as_str()) else { return Ok(()) };
    let chance = |rate| world.draw(|random| random.chance(rate));
    if chance(manners.break_before) {
        world.harmed_by_backend("resets a stream before the answer");
        respond.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    let early = chance(manners.early);
    if !early {
        read(&mut body, ask, checker).await?;
    }
    pause(world, manners.think_max).await;
    let status = world.draw(|random| random.pick(manners.statuses));
    let bare = ask.method == "HEAD" || matches!(status, 204 | 304);
    let length = if matches!(status, 204 | 304) { 0 } else { draw_length(world, manners.body_max) };
    let number = checker.answers(ask, status, length as u64);
    let response = Response::builder().status(status).header(ID, ask.id).header(ANSWER, number);
    let response = response.body(()).expect("the parts are well-formed");
    let mut stream = respond.send_response(response, bare)?;
    if !bare {
        let breaks = chance(manners.break_within);
        if breaks {
            world.harmed_by_backend("resets a stream within the answer");
            let sent = world.draw(|random| random.size(0, length));
            stream.send_data(Content::of_answer(number).bytes(0, sent).into(), false)?;
            pause(world, manners.think_max).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        send(world, &mut stream, Content::of_answer(number), length, manners.think_max, 100_000).await?;
    }
    if early {
        read(&mut body, ask, checker).await?;
    }
    Ok(())
}

async fn read(body: &mut RecvStream, ask: Ask, checker: &Http) -> Result<(), h2::Error> {
    let mut length = 0;
    while let Some(piece) = body.data().await {
        let piece = piece?;
        checker.received(ask, length, &piece);
        length += piece.len() as u64;
        let _ = body.flow_control().release_capacity(piece.len());
    }
    let _ = body.trailers().await?;
    checker.received_whole(ask, length);
    Ok(())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
