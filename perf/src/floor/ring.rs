//! Operations of io_uring: a receive, then a send with the next receive linked to it, so that a message costs one
//! submission and one completion.
//!
//! The one place of the harness that hands memory to the kernel: [`Ring`] owns all of it for as long as the process lives.
#![expect(unsafe_code, reason = "queueing an operation promises that its buffer and descriptor outlive it")]

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use io_uring::{IoUring, opcode, squeue, types};

use super::{Pair, is_shortage};

const BUFFER_BYTES: usize = 64 << 10;
const QUEUE: u32 = 4096;
const ACCEPT: u64 = u64::MAX;
/// Of a send that is linked with the next receive: only its failure is told.
const SENT: u64 = 1 << 62;
const MSG_WAITALL: i32 = 0x100;
const MSG_NOSIGNAL: i32 = 0x4000;

/// A buffer that is never freed, with at most one operation on it at a time.
#[derive(Debug)]
struct Buffer(*mut u8);

impl Buffer {
    fn new() -> Self {
        Self(Box::leak(vec![0; BUFFER_BYTES].into_boxed_slice()).as_mut_ptr())
    }
}

struct Ring(IoUring);

impl Ring {
    fn new() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun().setup_cqsize(QUEUE * 4);
        Ok(Self(builder.build(QUEUE).or_else(|_older_kernel| IoUring::new(QUEUE))?))
    }

    /// Queues operations that may only start one after another.
    fn queue(&mut self, entries: &[squeue::Entry]) -> io::Result<()> {
        let queue = self.0.submission();
        let room = queue.capacity() - queue.len();
        drop(queue);
        if room < entries.len() {
            self.0.submit()?;
        }
        // SAFETY: descriptors belong to pairs that are kept until none of their operations is left; buffers are
        // leaked, and a direction has one operation on its buffer at a time (the linked receive starts when the send is done).
        unsafe { self.0.submission().push_multiple(entries) }
            .map_err(|_full| io::Error::other("the ring is full"))
    }

    fn accept(&mut self, listener: RawFd) -> io::Result<()> {
        let accept = opcode::Accept::new(types::Fd(listener), std::ptr::null_mut(), std::ptr::null_mut());
        self.queue(&[accept.build().user_data(ACCEPT)])
    }

    fn receive(&mut self, from: RawFd, buffer: &Buffer, token: u64) -> io::Result<()> {
        self.queue(&[receive(from, buffer, token)])
    }

    /// Sends so many bytes of the buffer, all of them, and receives into it once they are gone.
    fn pass_on(&mut self, from: RawFd, to: RawFd, buffer: &Buffer, bytes: u32, token: u64) -> io::Result<()> {
        let send =
            opcode::Send::new(types::Fd(to), buffer.0, bytes).flags(MSG_WAITALL | MSG_NOSIGNAL).build();
        let send = send.flags(squeue::Flags::IO_LINK | squeue::Flags::SKIP_SUCCESS).user_data(token | SENT);
        self.queue(&[send, receive(from, buffer, token)])
    }
}

fn receive(from: RawFd, buffer: &Buffer, token: u64) -> squeue::Entry {
    opcode::Recv::new(types::Fd(from), buffer.0, BUFFER_BYTES as u32).build().user_data(token)
}

struct Relayed {
    pair: Pair,
    /// By the end that sends.
    buffers: [Buffer; 2],
    ended: [bool; 2],
}

pub(super) fn run(listener: &TcpListener, upstream: SocketAddr) -> io::Result<()> {
    let mut ring = Ring::new()?;
    let mut pairs: HashMap<u64, Relayed> = HashMap::new();
    let mut spare: Vec<[Buffer; 2]> = Vec::new();
    let mut next = 0;
    ring.accept(listener.as_raw_fd())?;
    let mut accepting = true;
    let mut completed = Vec::new();
    loop {
        match ring.0.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            waited => waited?,
        };
        completed.extend(ring.0.completion().map(|entry| (entry.user_data(), entry.result())));
        for (token, result) in completed.drain(..) {
            if token == ACCEPT {
                // Without descriptors for another client, there is nothing to ask for until one goes.
                accepting = !is_shortage(&io::Error::from_raw_os_error(-result));
                if accepting {
                    ring.accept(listener.as_raw_fd())?;
                }
                let Some(client) = accepted(result) else { continue };
                let Ok(pair) = Pair::connect(client, upstream) else { continue };
                // The ring waits by itself; with O_NONBLOCK it would report EAGAIN instead.
                pair.ends.iter().try_for_each(|end| end.set_nonblocking(false))?;
                let buffers = spare.pop().unwrap_or_else(|| [Buffer::new(), Buffer::new()]);
                for (side, end) in pair.ends.iter().enumerate() {
                    ring.receive(end.as_raw_fd(), &buffers[side], next * 2 + side as u64)?;
                }
                pairs.insert(next, Relayed { pair, buffers, ended: [false; 2] });
                next += 1;
                continue;
            }
            // A failed send cancels the receive that is linked to it, whose own completion ends the direction.
            if token & SENT != 0 {
                continue;
            }
            let (key, side) = (token / 2, (token % 2) as usize);
            let Some(relayed) = pairs.get_mut(&key) else { continue };
            let (from, to) = (&relayed.pair.ends[side], &relayed.pair.ends[1 - side]);
            if let Ok(bytes @ 1..) = u32::try_from(result) {
                ring.pass_on(from.as_raw_fd(), to.as_raw_fd(), &relayed.buffers[side], bytes, token)?;
                continue;
            }
            relayed.ended[side] = true;
            // After a failure the other direction must end as well.
            let how = if result < 0 { Shutdown::Both } else { Shutdown::Write };
            let _gone = to.shutdown(how);
            if result < 0 {
                let _gone = from.shutdown(Shutdown::Both);
            }
            if relayed.ended == [true; 2]
                && let Some(relayed) = pairs.remove(&key)
            {
                spare.push(relayed.buffers);
                if !accepting {
                    ring.accept(listener.as_raw_fd())?;
                    accepting = true;
                }
            }
        }
    }
}

fn accepted(result: i32) -> Option<TcpStream> {
    // SAFETY: a result that is not negative is a new descriptor, which nobody else knows.
    (result >= 0).then(|| unsafe { TcpStream::from_raw_fd(result) })
}
