//! What must hold of a TCP connection through the proxy: each direction carries all bytes in order and ends when its
//! sender ended it; a break needs a cause.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::checker::content::Content;
use crate::network::{SimSocket, Watch};
use crate::world::World;

/// How a direction ended, as its receiver saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After so many bytes, in order.
    Clean(u64),
    /// By an error.
    Broken,
}

/// The oracle of a run.
pub struct Tcp {
    world: World,
    serial: Cell<u64>,
    records: RefCell<BTreeMap<u64, Record>>,
}

#[derive(Default)]
struct Record {
    sent: u64,
    answered: Option<u64>,
    client: Option<End>,
    backend: Option<End>,
    /// Its client's connection was broken by the network before the client was done.
    client_harmed: bool,
    /// The connections of both, which may be broken after one of them is done: what it sent is still on its way.
    watched: Vec<Watch>,
    /// A reset reached the client; if another call was told of it, reading sees an end.
    client_reset: bool,
    /// The same of the backend.
    backend_reset: bool,
}

impl Tcp {
    /// The oracle of a world.
    pub fn new(world: &World) -> Rc<Self> {
        Rc::new(Self { world: world.clone(), serial: Cell::new(1), records: RefCell::default() })
    }

    /// A client sends so many bytes on a new connection; returns the connection's number.
    pub fn opens(&self, length: u64) -> u64 {
        let id = self.serial.replace(self.serial.get() + 1);
        self.records.borrow_mut().insert(id, Record { sent: length, ..Record::default() });
        id
    }

    /// A connection reached a backend, which sends so many bytes. `false`: it must not be there.
    pub fn arrived(&self, id: u64, length: u64) -> bool {
        match self.records.borrow_mut().get_mut(&id).map(|record| record.answered.replace(length)) {
            Some(None) => true,
            Some(Some(_)) => {
                self.world.violated(format!("connection {id} arrived twice"));
                false
            }
            None => {
                self.world.violated(format!("connection {id} arrived, which nobody made"));
                false
            }
        }
    }

    /// A client got a piece.
    pub fn client_got(&self, id: u64, offset: u64, piece: &[u8]) {
        if let Some(at) = Content::of_answer(id).difference(offset, piece) {
            self.world.violated(format!("connection {id}: byte {at} to the client is wrong"));
        }
    }

    /// A backend got a piece.
    pub fn backend_got(&self, id: u64, offset: u64, piece: &[u8]) {
        if let Some(at) = Content::of_request(id).difference(offset, piece) {
            self.world.violated(format!("connection {id}: byte {at} to the backend is wrong"));
        }
    }

    /// A client's receiving direction ended.
    pub fn client_ended(&self, id: u64, end: End, socket: &SimSocket) {
        self.change(id, |record| {
            record.client = Some(end);
            (record.client_harmed, record.client_reset) = (socket.harmed(), socket.was_reset());
            record.watched.push(socket.watch());
        });
    }

    /// A backend's receiving direction ended.
    pub fn backend_ended(&self, id: u64, end: End, socket: &SimSocket) {
        self.change(id, |record| {
            record.backend = Some(end);
            record.backend_reset = socket.was_reset();
            record.watched.push(socket.watch());
        });
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Record)) {
        let mut records = self.records.borrow_mut();
        let record = records.get_mut(&id).expect("it was opened");
        change(record);
        self.world.note(format!("connection {id}: client {:?}, backend {:?}", record.client, record.backend));
    }

    /// Weighs the whole run.
    pub fn finish(&self) {
        let mut unserved = 0;
        for (id, record) in &*self.records.borrow() {
            let Some(client) = record.client else {
                return self.world.violated(format!("connection {id} never ended at its client"));
            };
            let Some(answered) = record.answered else {
                unserved += u64::from(!record.client_harmed);
                continue;
            };
            let Some(backend) = record.backend else {
                return self.world.violated(format!("connection {id} never ended at its backend"));
            };
            let harmed = record.watched.iter().any(Watch::harmed);
            let directions = [
                (client, answered, record.client_reset, "client"),
                (backend, record.sent, record.backend_reset, "backend"),
            ];
            for (end, sent, reset, who) in directions {
                match end {
                    End::Clean(received) if received == sent => {}
                    // A break must be seen as one, or bytes were lost silently.
                    End::Broken if harmed => {}
                    End::Clean(_) if harmed && reset => {}
                    _ => {
                        let what =
                            format!("connection {id}: {who} saw {end:?} of {sent} bytes, harmed: {harmed}");
                        return self.world.violated(what);
                    }
                }
            }
        }
        let harm = self.world.harm_done().upstream;
        if unserved > harm {
            self.world
                .violated(format!("{unserved} connections were not served; only {harm} harms were done"));
        }
    }

    /// How many connections were carried whole.
    pub fn carried(&self) -> usize {
        let whole = |record: &&Record| {
            matches!((record.client, record.backend), (Some(End::Clean(_)), Some(End::Clean(_))))
        };
        self.records.borrow().values().filter(whole).count()
    }
}
