//! A client and a backend that speak HTTP/1.1, in their own words: heads by httparse, bodies by hand.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ringway_proxy::env::{Acceptor, Env, Socket};

use crate::checker::content::Content;
use crate::checker::http::{ANSWER, Ask, Http, ID, Outcome};
use crate::env::SimEnv;
use crate::network::SimAcceptor;
use crate::peer::wire::{Wire, while_first};
use crate::world::World;

/// A head longer than this is wrong: nobody here sends such.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Habits {
    /// The host it asks for.
    pub host: &'static str,
    /// Requests on a connection, at most.
    pub requests_max: usize,
    /// Requests sent before the first answer is awaited, at most; of HTTP/2: streams at a time.
    pub pipeline_max: usize,
    /// What it asks.
    pub methods: &'static [&'static str],
    /// The largest request body.
    pub body_max: usize,
    /// The longest wait between two things it does.
    pub pause_max: Duration,
    /// How long it waits for all answers to what it sent at once: after that the run has failed.
    pub patience: Duration,
    /// It goes away in the middle of a request, so many times in a million.
    pub leave: u32,
    /// Its bodies end with trailers where they can, so many times in a million.
    pub trailers: u32,
}

/// How a backend behaves. Rates are times in a million requests.
#[derive(Clone, Debug)]
pub struct Manners {
    /// The longest it thinks before an answer.
    pub think_max: Duration,
    /// The largest answer.
    pub body_max: usize,
    /// Its answer says that the connection will be closed.
    pub close: u32,
    /// The connection is closed after an answer that did not say so.
    pub silent_close: u32,
    /// How long an idle connection is kept: a number up to this is drawn each time.
    pub idle_max: Duration,
    /// The answer begins before the request's body was read.
    pub early: u32,
    /// An informational answer comes first.
    pub interim: u32,
    /// The stream is refused unseen (HTTP/2 alone).
    pub refuse: u32,
    /// How many streams it takes at once: one of these (HTTP/2 alone). Those above are refused unseen.
    pub streams_max: &'static [u32],
    /// The connection (of HTTP/2: the stream) breaks before an answer.
    pub break_before: u32,
    /// The same within an answer.
    pub break_within: u32,
    /// It never answers.
    pub hang: u32,
    /// Statuses it answers with.
    pub statuses: &'static [u16],
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            host: "test.example",
            requests_max: 10,
            pipeline_max: 1,
            methods: &["GET", "HEAD", "POST", "PUT", "DELETE"],
            body_max: 20_000,
            pause_max: Duration::from_millis(20),
            patience: Duration::from_secs(900),
            leave: 0,
            trailers: 100_000,
        }
    }
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            think_max: Duration::from_millis(20),
            body_max: 20_000,
            close: 50_000,
            silent_close: 0,
            idle_max: Duration::from_secs(3600),
            early: 50_000,
            interim: 50_000,
            refuse: 0,
            streams_max: &[100],
            break_before: 0,
            break_within: 0,
            hang: 0,
            statuses: &[200, 200, 200, 201, 204, 304, 404, 500],
        }
    }
}

// ---------------------------------------------------------------------------------------------- client

/// Why a client gives a connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It was told that the connection closes.
    Told,
    /// It ended or broke before the first byte of an answer.
    Unserved,
    /// It ended or broke within an answer.
    Truncated,
    /// The answer is wrong, and the run is over.
    Wrong,
}

/// Asks on one connection until all is asked or the connection ends.
pub async fn client(env: SimEnv, wire: impl Wire, habits: Habits, checker: Rc<Http>) {
    let world = env.world().clone();
    let mut reader = Reader::new(&wire);
    let mut left = world.draw(|random| random.size(1, habits.requests_max));
    while left > 0 {
        pause(&world, habits.pause_max).await;
        let count = world.draw(|random| random.size(1, habits.pipeline_max.min(left)));
        left -= count;
        let asks: Vec<_> = (0..count).map(|_| draw_ask(&world, &habits, &checker)).collect();
        if world.draw(|random| random.chance(habits.leave)) {
            leave(&world, &wire, &habits, &asks, &checker).await;
            return;
        }
        let exchange = exchange(&world, &wire, &mut reader, &habits, &asks, &checker);
        let Some(result) = world.within(habits.patience, exchange).await else {
            return world.violated(format!("no answer to {asks:?} after {:?}", habits.patience));
        };
        let Err(stop) = result else { continue };
        let harmed = wire.socket().harmed();
        let lost = asks.iter().filter(|ask| !checker.has_outcome(**ask));
        for (index, ask) in lost.enumerate() {
            // What was pipelined behind the one that broke was not served, and that is as it must be.
            let excused = harmed || stop == Stop::Told || index > 0;
            checker.outcome(*ask, Outcome::Broken { excused, unserved: stop == Stop::Unserved });
        }
        return;
    }
}

pub(crate) fn draw_ask(world: &World, habits: &Habits, checker: &Http) -> Ask {
    let method = world.draw(|random| random.pick(habits.methods));
    let body = match method {
        "POST" | "PUT" => Some(draw_length(world, habits.body_max)),
        _ => None,
    };
    checker.asks(method, body)
}

/// Mostly short, sometimes nothing, sometimes as long as can be.
pub(crate) fn draw_length(world: &World, most: usize) -> usize {
    world.draw(|random| {
        let most = random.pick(&[0, 1, most / 100, most / 10, most]);
        random.size(0, most)
    })
}

/// Sends requests and reads their answers, both at once.
async fn exchange<W: Wire>(
    world: &World,
    wire: &W,
    reader: &mut Reader<'_, W>,
    habits: &Habits,
    asks: &[Ask],
    checker: &Http,
) -> Result<(), Stop> {
    let sent = Cell::new(false);
    let together = world.draw(|random| random.chance(500_000));
    let mut sending = pin!(async {
        let mut messages: Vec<_> = asks.iter().map(|ask| message(world, habits, *ask)).collect();
        if together {
            messages = vec![messages.concat()];
        }
        for message in messages {
            // If it cannot be written any more, the reader learns why.
            if write_pieces(world, wire, &message, habits.pause_max).await.is_err() {
                return;
            }
        }
    });
    let receiving = async {
        for ask in asks {
            receive(world, reader, *ask, checker).await?;
        }
        Ok(())
    };
    let received = while_first(receiving, sending.as_mut(), &sent).await;
    // An answer may come before its request is whole; the connection serves the next one only after that.
    if received.is_ok() && !sent.get() {
        sending.await;
    }
    received
}

/// Sends a part of its requests and goes away.
async fn leave(world: &World, wire: &impl Wire, habits: &Habits, asks: &[Ask], checker: &Http) {
    let messages: Vec<_> = asks.iter().flat_map(|ask| message(world, habits, *ask)).collect();
    let part = world.draw(|random| random.size(1, messages.len()));
    let sending = write_pieces(world, wire, &messages[..part], habits.pause_max);
    // It does not read: what it is sent may fill every buffer, and then it cannot write.
    let _ = world.within(Duration::from_secs(5), sending).await;
    pause(world, habits.pause_max).await;
    if world.draw(|random| random.chance(500_000)) {
        wire.socket().reset_on_close();
    }
    for ask in asks {
        checker.outcome(*ask, Outcome::Broken { excused: true, unserved: false });
    }
}

/// A request as bytes.
fn message(world: &World, habits: &Habits, ask: Ask) -> Vec<u8> {
    let chunked = world.draw(|random| random.chance(400_000));
    let mut head =
        format!("{} {} HTTP/1.1\r\nHost: {}\r\n{ID}: {}\r\n", ask.method, ask.path(), habits.host, ask.id);
    match ask.body {
        Some(_) if chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        Some(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        None => {}
    }
    head.push_str("\r\n");
    let content = Content::of_request(ask.id);
    let framing = match ask.body {
        None => Framing::Nothing,
        Some(_) if chunked => Framing::Chunked,
        Some(length) => Framing::Length(length as u64),
    };
    assemble(world, head, content, ask.body.unwrap_or(0), framing, habits.trailers)
}

/// Reads one answer.
async fn receive<W: Wire>(
    world: &World,
    reader: &mut Reader<'_, W>,
    ask: Ask,
    checker: &Http,
) -> Result<(), Stop> {
    let wrong = |what: String| {
        world.violated(format!("request {}: {what}", ask.id));
        Stop::Wrong
    };
    let head = loop {
        let head = match reader.response_head().await {
            Ok(head) => head,
            Err(Lost::Wrong(what)) => return Err(wrong(what)),
            Err(Lost::Ended { begun: false }) => return Err(Stop::Unserved),
            Err(Lost::Ended { begun: true }) => return Err(Stop::Truncated),
        };
        if head.status >= 200 {
            break head;
        }
    };
    let framing = match head.fields.framing() {
        _ if ask.method == "HEAD" || matches!(head.status, 204 | 304) => Framing::Nothing,
        Ok(Framing::Nothing) => Framing::UntilEnd,
        Ok(framing) => framing,
        Err(what) => return Err(wrong(what)),
    };
    let answer = head.fields.number(ANSWER);
    if answer.is_some_and(|answer| !checker.is_answer_to(ask, answer)) {
        return Err(wrong(format!("got the answer {answer:?} of another request")));
    }
    if answer.is_some() && head.fields.number(ID) != Some(ask.id) {
        return Err(wrong(format!("got an answer for {:?}", head.fields.number(ID))));
    }
    let body = reader.body(framing, |offset, piece| {
        if let Some(answer) = answer {
            checker.got(ask, answer, offset, piece);
        }
    });
    match body.await {
        Ok(length) => {
            let outcome = match answer {
                Some(answer) => Outcome::Answered { answer, status: head.status, length },
                None => Outcome::Refused(head.status),
            };
            checker.outcome(ask, outcome);
        }
        Err(Lost::Wrong(what)) => return Err(wrong(what)),
        Err(Lost::Ended { .. }) => return Err(Stop::Truncated),
    }
    if head.fields.closes() || framing == Framing::UntilEnd { Err(Stop::Told) } else { Ok(()) }
}

// ---------------------------------------------------------------------------------------------- backend

/// A backend that accepts connections until it is stopped.
pub struct Backend {
    acceptor: Rc<SimAcceptor>,
}

impl Backend {
    /// Listens on a port of a peer and serves whoever comes.
    pub fn start(env: &SimEnv, index: u16, port: u16, manners: Manners, checker: Rc<Http>) -> Self {
        let acceptor = Rc::new(env.listen(port));
        let (shared, env) = (Rc::clone(&acceptor), env.clone());
        env.clone().spawn(async move {
            while !shared.is_closed() {
                let _ = shared.readable().await;
                if let Ok((socket, _)) = shared.accept_here() {
                    let world = env.world().clone();
                    env.spawn(serve(world, socket, index, manners.clone(), Rc::clone(&checker)));
                }
            }
        });
        Self { acceptor }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.acceptor.local()
    }

    /// Accepts no more; connections that it has live on.
    pub fn stop(&self) {
        self.acceptor.close();
    }
}

/// Serves one connection.
pub async fn serve(world: World, wire: impl Wire, index: u16, manners: Manners, checker: Rc<Http>) {
    let mut reader = Reader::new(&wire);
    let chance = |rate| world.draw(|random| random.chance(rate));
    // A new connection was made for a request, and is given the time for it.
    let mut idle = Duration::from_secs(3600);
    loop {
        let waited = world.within(idle, reader.ready()).await;
        idle = world.draw_duration(manners.idle_max);
        match waited {
            None => {
                checker.may_race();
                return world.note(format!("backend {index} closes an idle connection"));
            }
            Some(Ok(true)) => {}
            Some(Ok(false) | Err(_)) => return,
        }
        let head = match reader.request_head().await {
            Ok(head) => head,
            Err(Lost::Ended { .. }) => return,
            Err(Lost::Wrong(what)) => return world.violated(format!("backend {index}: {what}")),
        };
        let (Some(id), Ok(framing)) = (head.fields.number(ID), head.fields.framing()) else {
            return world.violated(format!("backend {index}: a request without id or with bad framing"));
        };
        if head.target != format!("/r/{id}") {
            return world.violated(format!("backend {index}: request {id} came with target {}", head.target));
        }
        let Some(ask) = checker.arrived(index, id, &head.method) else { return };
        let breaks = chance(manners.break_before);
        if breaks && chance(500_000) {
            return break_off(&world, &wire, "breaks off before the body");
        }
        if chance(manners.hang) {
            world.harmed_by_backend("never answers");
            return world.sleep(Duration::from_secs(100_000)).await;
        }
        let mut body_read = false;
        if !chance(manners.early) {
            if read_request_body(&mut reader, framing, ask, &checker).await.is_err() {
                return;
            }
            body_read = true;
        }
        pause(&world, manners.think_max).await;
        if breaks {
            return break_off(&world, &wire, "breaks off before the answer");
        }
        if chance(manners.interim)
            && wire.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n").await.is_err()
        {
            return;
        }
        let Ok(stays) = answer(&world, &wire, ask, &manners, &checker).await else { return };
        if !body_read && read_request_body(&mut reader, framing, ask, &checker).await.is_err() {
            return;
        }
        if !stays {
            // With TLS an end without goodbye is no end; and a close with unread input would break the answer.
            let _ = wire.finish().await;
            let mut rest = [0; 4096];
            while let Some(Ok(1..)) = world.within(Duration::from_secs(5), wire.read(&mut rest)).await {}
            return;
        }
        if chance(manners.silent_close) {
            checker.may_race();
            return world.note(format!("backend {index} closes after an answer"));
        }
    }
}

/// The backend does what the network might have done.
fn break_off(world: &World, wire: &impl Wire, how: &'static str) {
    world.harmed_by_backend(how);
    if world.draw(|random| random.chance(500_000)) {
        wire.socket().reset_on_close();
    }
}

async fn read_request_body<W: Wire>(
    reader: &mut Reader<'_, W>,
    framing: Framing,
    ask: Ask,
    checker: &Http,
) -> Result<(), Lost> {
    let length = reader.body(framing, |offset, piece| checker.received(ask, offset, piece)).await?;
    checker.received_whole(ask, length);
    Ok(())
}

/// Answers; whether the connection stays open. An error: it does not work any more.
async fn answer(
    world: &World,
    wire: &impl Wire,
    ask: Ask,
    manners: &Manners,
    checker: &Http,
) -> io::Result<bool> {
    let status = world.draw(|random| random.pick(manners.statuses));
    let bare = ask.method == "HEAD" || matches!(status, 204 | 304);
    let length = if matches!(status, 204 | 304) { 0 } else { draw_length(world, manners.body_max) };
    let closes = world.draw(|random| random.chance(manners.close));
    let number = checker.answers(ask, status, length as u64);
    let framings = [Framing::Length(length as u64), Framing::Chunked, Framing::UntilEnd];
    let framing = framings[world.draw(|random| random.size(0, 1 + usize::from(closes)))];
    let mut head = format!("HTTP/1.1 {status} Whatever\r\n{ID}: {}\r\n{ANSWER}: {number}\r\n", ask.id);
    if closes {
        head.push_str("Connection: close\r\n");
    }
    match framing {
        _ if matches!(status, 204 | 304) => {}
        Framing::Length(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::Nothing | Framing::UntilEnd => {}
    }
    head.push_str("\r\n");
    let framing = if bare { Framing::Nothing } else { framing };
    let message = assemble(world, head, Content::of_answer(number), length, framing, 100_000);
    let breaks = world.draw(|random| random.chance(manners.break_within));
    if breaks {
        let whole = message.len() - 1;
        let sent = world.draw(|random| random.size(1, whole));
        write_pieces(world, wire, &message[..sent], manners.think_max).await?;
        // The end of a body that only the end of its connection ends is no break: then it must be a reset.
        world.harmed_by_backend("breaks off within the answer");
        if framing == Framing::UntilEnd || world.draw(|random| random.chance(500_000)) {
            wire.socket().reset_on_close();
        }
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    write_pieces(world, wire, &message, manners.think_max).await?;
    Ok(!closes)
}

// ---------------------------------------------------------------------------------------------- messages

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Nothing,
    Length(u64),
    Chunked,
    UntilEnd,
}

/// A message as bytes.
fn assemble(
    world: &World,
    head: String,
    content: Content,
    length: usize,
    framing: Framing,
    trailers: u32,
) -> Vec<u8> {
    let mut message = head.into_bytes();
    match framing {
        Framing::Nothing => {}
        Framing::Length(_) | Framing::UntilEnd => message.extend(content.bytes(0, length)),
        Framing::Chunked => {
            let chunk_max = world.draw(|random| random.pick(&[10, 1000, 1 << 20])).max(length / 100);
            let mut offset = 0;
            while offset < length {
                let size = world.draw(|random| random.size(1, chunk_max)).min(length - offset);
                message.extend(format!("{size:x}\r\n").bytes());
                message.extend(content.bytes(offset as u64, size));
                message.extend(b"\r\n");
                offset += size;
            }
            let trailers = world.draw(|random| random.chance(trailers));
            message.extend(if trailers { &b"0\r\nx-sim-trailer: 1\r\n\r\n"[..] } else { b"0\r\n\r\n" });
        }
    }
    message
}

/// Writes in some pieces, with waits between them.
async fn write_pieces(
    world: &World,
    wire: &impl Wire,
    mut bytes: &[u8],
    pause_max: Duration,
) -> io::Result<()> {
    for _ in 0..world.draw(|random| random.below(5)) {
        let count = world.draw(|random| random.size(0, bytes.len()));
        let (piece, rest) = bytes.split_at(count);
        wire.write(piece).await?;
        pause(world, pause_max).await;
        bytes = rest;
    }
    wire.write(bytes).await
}

/// Waits for a drawn time, or not at all.
pub(crate) async fn pause(world: &World, most: Duration) {
    if world.draw(|random| random.chance(500_000)) {
        world.sleep(world.draw_duration(most)).await;
    }
}

struct RequestHead {
    method: String,
    target: String,
    fields: Fields,
}

struct ResponseHead {
    status: u16,
    fields: Fields,
}

/// Names in lower case.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn of(headers: &[httparse::Header<'_>]) -> Self {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        Self(headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value))).collect())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.all(name).next()?.parse().ok()
    }

    fn closes(&self) -> bool {
        self.all("connection")
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("close"))
    }

    fn framing(&self) -> Result<Framing, String> {
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        let lengths: Vec<_> = self.all("content-length").collect();
        match (&codings[..], &lengths[..]) {
            ([], []) => Ok(Framing::Nothing),
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            ([], [length]) => length.parse().map(Framing::Length).map_err(|_| format!("bad length {length}")),
            _ => Err(format!("ambiguous framing: {codings:?} {lengths:?}")),
        }
    }
}

/// Why a message was not read to its end.
#[derive(Debug)]
enum Lost {
    /// The connection ended or broke; whether a byte of the message had come.
    Ended { begun: bool },
    /// It is no message.
    Wrong(String),
}

/// Reads messages from a wire.
struct Reader<'a, W> {
    wire: &'a W,
    buffer: Vec<u8>,
}

impl<'a, W: Wire> Reader<'a, W> {
    fn new(wire: &'a W) -> Self {
        Self { wire, buffer: Vec::new() }
    }

    /// Waits until there are bytes; `false` at the end.
    async fn ready(&mut self) -> io::Result<bool> {
        if self.buffer.is_empty() { self.fill().await } else { Ok(true) }
    }

    /// Reads further bytes; `false` at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 4096];
        let count = self.wire.read(&mut piece).await?;
        self.buffer.extend(&piece[..count]);
        Ok(count > 0)
    }

    async fn more(&mut self, begun: bool) -> Result<(), Lost> {
        match self.fill().await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Lost::Ended { begun }),
        }
    }

    async fn request_head(&mut self) -> Result<RequestHead, Lost> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut headers);
            match request.parse(&self.buffer) {
                Ok(httparse::Status::Complete(length)) => {
                    let head = RequestHead {
                        method: request.method.unwrap_or_default().to_owned(),
                        target: request.path.unwrap_or_default().to_owned(),
                        fields: Fields::of(request.headers),
                    };
                    self.buffer.drain(..length);
                    return Ok(head);
                }
                Ok(httparse::Status::Partial) if self.buffer.len() < HEAD_BYTES_MAX => {}
                other => return Err(Lost::Wrong(format!("no request: {other:?}"))),
            }
            self.more(!self.buffer.is_empty()).await?;
        }
    }

    async fn response_head(&mut self) -> Result<ResponseHead, Lost> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            match response.parse(&self.buffer) {
                Ok(httparse::Status::Complete(length)) => {
                    let status = response.code.unwrap_or_default();
                    let head = ResponseHead { status, fields: Fields::of(response.headers) };
                    self.buffer.drain(..length);
                    return Ok(head);
                }
                Ok(httparse::Status::Partial) if self.buffer.len() < HEAD_BYTES_MAX => {}
                other => return Err(Lost::Wrong(format!("no response: {other:?}"))),
            }
            self.more(!self.buffer.is_empty()).await?;
        }
    }

    /// Reads a body to its end; its length.
    async fn body(&mut self, framing: Framing, mut each: impl FnMut(u64, &[u8])) -> Result<u64, Lost> {
        match framing {
            Framing::Nothing => Ok(0),
            Framing::Length(length) => {
                self.exactly(length, 0, &mut each).await?;
                Ok(length)
            }
            Framing::UntilEnd => {
                let mut offset = 0;
                loop {
                    each(offset, &self.buffer);
                    offset += self.buffer.len() as u64;
                    self.buffer.clear();
                    match self.fill().await {
                        Ok(true) => {}
                        Ok(false) => return Ok(offset),
                        Err(_) => return Err(Lost::Ended { begun: true }),
                    }
                }
            }
            Framing::Chunked => {
                let mut offset = 0;
                loop {
                    let line = self.line().await?;
                    let size = line.split(';').next().unwrap_or_default();
                    let size = u64::from_str_radix(size, 16)
                        .map_err(|_| Lost::Wrong(format!("no chunk size: {line:?}")))?;
                    if size == 0 {
                        break;
                    }
                    self.exactly(size, offset, &mut each).await?;
                    offset += size;
                    let line = self.line().await?;
                    if !line.is_empty() {
                        return Err(Lost::Wrong(format!("a chunk is followed by {line:?}")));
                    }
                }
                while !self.line().await?.is_empty() {}
                Ok(offset)
            }
        }
    }

    async fn exactly(
        &mut self,
        length: u64,
        offset: u64,
        each: &mut impl FnMut(u64, &[u8]),
    ) -> Result<(), Lost> {
        let mut done = 0;
        loop {
            let count = (length - done).min(self.buffer.len() as u64);
            each(offset + done, &self.buffer[..count as usize]);
            self.buffer.drain(..count as usize);
            done += count;
            if done == length {
                return Ok(());
            }
            self.more(true).await?;
        }
    }

    /// Reads a line, without its end.
    async fn line(&mut self) -> Result<String, Lost> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(Lost::Wrong("a line without end".to_owned()));
            }
            self.more(true).await?;
        }
    }
}
