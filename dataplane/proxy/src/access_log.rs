//! Hands access log lines to whoever writes them, without ever waiting: what is not taken at once is dropped and counted.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::SystemTime;

use ringway_core::access_log::{Facts, Format};
use ringway_core::record::{Event, Recorder, TunnelSummary};
use ringway_core::{Arrival, Summary};

/// Where lines go. Called on a core, so it must not wait.
pub trait LineSink: Send + Sync {
    /// Takes whole lines; `false`: there is no room, they are lost.
    fn try_write(&self, lines: Vec<u8>) -> bool;
}

/// What an access log is.
#[derive(Clone)]
pub struct AccessLogSettings {
    /// How lines are written.
    pub format: Format,
    /// Where they go.
    pub sink: Arc<dyn LineSink>,
}

/// The access log of a core: lines are gathered, and handed on when there are many or at the next tick.
pub struct AccessLog {
    settings: AccessLogSettings,
    gathered: RefCell<Gathered>,
}

#[derive(Default)]
struct Gathered {
    lines: Vec<u8>,
    count: u32,
}

/// Lines are handed on once they take this much.
const GATHERED_BYTES_MAX: usize = 16 << 10;

impl AccessLog {
    /// An empty log.
    pub fn new(settings: AccessLogSettings) -> Self {
        Self { settings, gathered: RefCell::default() }
    }

    /// Adds the line of a request.
    pub fn request(
        &self,
        summary: &Summary,
        facts: &Facts,
        arrival: &Arrival,
        began: SystemTime,
        recorder: &mut Recorder,
    ) {
        self.add(recorder, |lines| self.settings.format.request(lines, summary, facts, arrival, began));
    }

    /// Adds the line of a tunnel.
    pub fn tunnel(
        &self,
        summary: &TunnelSummary,
        arrival: &Arrival,
        began: SystemTime,
        recorder: &mut Recorder,
    ) {
        self.add(recorder, |lines| self.settings.format.tunnel(lines, summary, arrival, began));
    }

    /// Hands on what was gathered.
    pub fn flush(&self, recorder: &mut Recorder) {
        let Gathered { lines, count } = self.gathered.take();
        if !lines.is_empty() && !self.settings.sink.try_write(lines) {
            (0..count).for_each(|_| recorder.count(Event::LogLineDropped));
        }
    }

    fn add(&self, recorder: &mut Recorder, write: impl FnOnce(&mut Vec<u8>)) {
        let mut gathered = self.gathered.borrow_mut();
        write(&mut gathered.lines);
        gathered.count += 1;
        let full = gathered.lines.len() >= GATHERED_BYTES_MAX;
        drop(gathered);
        if full {
            self.flush(recorder);
        }
    }
}
