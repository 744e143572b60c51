//! Writes lines without ever making their author wait: a bounded queue, and a thread that empties it.
//!
//! When the reader of a pipe stops reading, lines are dropped and counted; requests go on. The process log and the
//! access log each have a writer of their own.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use ringway_proxy::access_log::LineSink;

/// Pieces that wait: lines of the process log, or many lines of a core's access log at once.
const PIECES_MAX: usize = 8192;
/// Bytes that wait; what is beyond is dropped and counted.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// What is written in one call while more lines wait.
const BATCH_BYTES: usize = 64 << 10;
/// How long the last lines may take when the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    Stderr,
    /// Appended to; made if it is not there.
    File(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::Stderr => f.write_str("standard error"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Hands lines to the thread that writes them.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    orders: SyncSender<Order>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    dropped: AtomicU64,
    /// Lines that could not be written.
    failed: AtomicU64,
    waiting_bytes: AtomicUsize,
}

#[derive(Debug)]
enum Order {
    Lines(Vec<u8>),
    Reopen,
    Flush(SyncSender<()>),
}

impl Lines {
    /// Starts the thread. A file that cannot be opened is an error now, not later.
    pub(crate) fn start(target: Target) -> io::Result<Self> {
        let sink = open(&target)?;
        let (orders, inbox) = sync_channel(PIECES_MAX);
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&target, sink, &inbox, &counted))?;
        Ok(Self { orders, counts })
    }

    /// Hands over whole lines, or drops and counts them.
    pub(crate) fn send(&self, lines: Vec<u8>) {
        if !self.try_send(lines) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn try_send(&self, lines: Vec<u8>) -> bool {
        let bytes = lines.len();
        let waiting = self.counts.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let taken = waiting + bytes <= WAITING_BYTES_MAX && self.orders.try_send(Order::Lines(lines)).is_ok();
        if !taken {
            self.counts.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// How many lines could not be written: the disk is full, or the reader of the pipe is gone.
    pub(crate) fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    /// How often lines were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Opens the file anew: after it was rotated away.
    pub(crate) fn reopen(&self) {
        // A queue that is full of lines is followed by the next signal.
        let _full = self.orders.try_send(Order::Reopen);
    }

    /// Waits until all lines so far are written, but not for ever.
    pub(crate) fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.orders.try_send(Order::Flush(done)).is_ok() {
            let _late = written.recv_timeout(FLUSH_MAX);
        }
    }
}

/// A core calls this with many lines at a time; it counts what is refused itself.
impl LineSink for Lines {
    fn try_write(&self, lines: Vec<u8>) -> bool {
        self.try_send(lines)
    }
}

fn open(target: &Target) -> io::Result<Box<dyn Write + Send>> {
    Ok(match target {
        Target::Stdout => Box::new(io::stdout()),
        Target::Stderr => Box::new(io::stderr()),
        Target::File(path) => Box::new(append_to(path)?),
    })
}

fn append_to(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

fn write_all(target: &Target, mut sink: Box<dyn Write + Send>, inbox: &Receiver<Order>, counts: &Counts) {
    let mut batch = Vec::with_capacity(BATCH_BYTES);
    let mut failing = false;
    while let Ok(first) = inbox.recv() {
        let mut next = Some(first);
        let mut after = None;
        while let Some(order) = next.take() {
            match order {
                Order::Lines(lines) => batch.extend_from_slice(&lines),
                other => {
                    after = Some(other);
                    break;
                }
            }
            if batch.len() < BATCH_BYTES {
                next = inbox.try_recv().ok();
            }
        }
        let written = sink.write_all(&batch).and_then(|()| sink.flush());
        if let Err(error) = &written {
            let lines = batch.iter().filter(|byte| **byte == b'\n').count() as u64;
            counts.failed.fetch_add(lines, Ordering::Relaxed);
            // Once, or the process log would be as long as what is lost.
            if !failing && *target != Target::Stderr {
                tracing::error!(%error, "cannot write the access log to {target}: its lines are lost until that works again");
            }
        } else if failing && !batch.is_empty() {
            tracing::info!("the access log is written to {target} again");
        }
        if !batch.is_empty() {
            failing = written.is_err();
        }
        counts.waiting_bytes.fetch_sub(batch.len(), Ordering::Relaxed);
        batch.clear();
        match after {
            Some(Order::Flush(done)) => drop(done.try_send(())),
            // The old file goes on being written if there is no new one: better there than nowhere.
            Some(Order::Reopen) => sink = open(target).unwrap_or(sink),
            Some(Order::Lines(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringway-writer-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_rotated_file_is_opened_anew_on_demand() {
        let (path, rotated) = (scratch("log"), scratch("log.1"));
        let lines = Lines::start(Target::File(path.clone())).unwrap();
        lines.send(b"one\n".to_vec());
        lines.flush();
        std::fs::rename(&path, &rotated).unwrap();
        lines.send(b"two\n".to_vec());
        lines.reopen();
        lines.send(b"three\n".to_vec());
        lines.flush();
        assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(rotated).unwrap();
        assert_eq!(lines.dropped(), 0);
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_waits() {
        // Nothing empties this queue, as when the reader of a pipe has stopped.
        let (orders, inbox) = sync_channel(2);
        let lines = Lines { orders, counts: Arc::default() };
        (0..5).for_each(|_| lines.send(b"line\n".to_vec()));
        assert_eq!(lines.dropped(), 3);
        lines.flush();
        assert_eq!(inbox.try_iter().count(), 2);
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_too() {
        let (orders, _inbox) = sync_channel(PIECES_MAX);
        let lines = Lines { orders, counts: Arc::default() };
        let piece = || vec![b'x'; 1 << 20];
        assert_eq!((0..20).filter(|_| lines.try_write(piece())).count(), WAITING_BYTES_MAX >> 20);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error_at_once() {
        assert!(Lines::start(Target::File("/nowhere/at/all".into())).is_err());
    }
}
