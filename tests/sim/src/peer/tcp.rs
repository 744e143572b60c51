//! A client and a backend that exchange bytes: each sends a stream whose content the other knows, then half-closes.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ringway_proxy::env::{Acceptor, Env};

use crate::checker::content::Content;
use crate::checker::tcp::{End, Tcp};
use crate::env::SimEnv;
use crate::network::SimAcceptor;
use crate::peer::wire::{Wire, while_first};
use crate::world::World;

/// What a client sends first: its number.
const PREAMBLE: usize = 8;

/// Talks on one connection: sends its number and so many bytes, receives what the backend sends.
pub async fn client(world: World, wire: impl Wire, length: u64, pause_max: Duration, checker: Rc<Tcp>) {
    let id = checker.opens(length);
    let mut message = id.to_be_bytes().to_vec();
    message.extend(Content::of_request(id).bytes(0, length as usize));
    let sending = send(&world, &wire, &message, pause_max);
    let receiving = receive(&wire, |offset, piece| checker.client_got(id, offset, piece));
    let received = beside(sending, receiving).await;
    let end = match received {
        Ok(length) => End::Clean(length),
        Err(_) => End::Broken,
    };
    checker.client_ended(id, end, wire.socket());
}

/// A backend that takes connections until the world ends. It sends so many bytes as `answer_max` allows.
pub fn backend(
    env: &SimEnv,
    port: u16,
    answer_max: u64,
    pause_max: Duration,
    checker: Rc<Tcp>,
) -> SocketAddr {
    let acceptor: SimAcceptor = env.listen(port);
    let address = acceptor.local();
    let env = env.clone();
    env.clone().spawn(async move {
        loop {
            let _ = acceptor.readable().await;
            if let Ok((socket, _)) = acceptor.accept_here() {
                env.spawn(serve(env.world().clone(), socket, answer_max, pause_max, Rc::clone(&checker)));
            }
        }
    });
    address
}

async fn serve(world: World, wire: impl Wire, answer_max: u64, pause_max: Duration, checker: Rc<Tcp>) {
    let mut preamble = [0; PREAMBLE];
    let mut filled = 0;
    while filled < PREAMBLE {
        match wire.read(&mut preamble[filled..]).await {
            Ok(count) if count > 0 => filled += count,
            // The client's connection may have been broken before it said a word.
            _ => return,
        }
    }
    let id = u64::from_be_bytes(preamble);
    let length = world.draw(|random| random.between(0, answer_max));
    if !checker.arrived(id, length) {
        return;
    }
    let message = Content::of_answer(id).bytes(0, length as usize);
    let sending = send(&world, &wire, &message, pause_max);
    let receiving = receive(&wire, |offset, piece| checker.backend_got(id, offset, piece));
    let end = match beside(sending, receiving).await {
        Ok(length) => End::Clean(length),
        Err(_) => End::Broken,
    };
    checker.backend_ended(id, end, wire.socket());
}

/// Runs both; the result is the receiver's.
async fn beside<T>(
    sending: impl Future<Output = ()>,
    receiving: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let sent = Cell::new(false);
    let mut sending = pin!(sending);
    let received = while_first(receiving, sending.as_mut(), &sent).await;
    // The other direction is a life of its own.
    if received.is_ok() && !sent.get() {
        sending.await;
    }
    received
}

async fn send(world: &World, wire: &impl Wire, mut bytes: &[u8], pause_max: Duration) {
    while !bytes.is_empty() {
        let count = world.draw(|random| random.size(1, bytes.len()));
        let (piece, rest) = bytes.split_at(count);
        if wire.write(piece).await.is_err() {
            return;
        }
        world.sleep(world.draw_duration(pause_max)).await;
        bytes = rest;
    }
    // If it is broken, the receiver sees it.
    let _ = wire.finish().await;
}

async fn receive(wire: &impl Wire, mut each: impl FnMut(u64, &[u8])) -> io::Result<u64> {
    let mut buffer = [0; 4096];
    let mut offset = 0;
    loop {
        let count = wire.read(&mut buffer).await?;
        if count == 0 {
            return Ok(offset);
        }
        each(offset, &buffer[..count]);
        offset += count as u64;
    }
}
