//! Shows on a terminal how a run goes. Elsewhere nothing is written: a file is read when it is whole.

use std::io::{self, IsTerminal, Write};

use crate::engine::Progress;
use crate::plan::Plan;
use crate::report::progress;

/// Of a terminal that does not say how wide it is.
const COLUMNS: usize = 80;

/// The line on standard error, if that is a terminal.
pub(crate) struct Live<'a> {
    plan: &'a Plan,
    terminal: bool,
    failed: u64,
}

impl<'a> Live<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        Self { plan, terminal: io::stderr().is_terminal(), failed: 0 }
    }

    pub(crate) fn see(&mut self, progress: &Progress<'_>) {
        if !self.terminal {
            return;
        }
        match progress {
            Progress::Starting => self.write("\rconnecting\x1b[K"),
            Progress::Connected { .. } => self.write("\rwarming up\x1b[K"),
            Progress::Recording => self.write("\rrecording\x1b[K"),
            Progress::Second { index, second } => {
                self.failed += second.failed;
                let at = progress::Progress {
                    plan: self.plan,
                    seconds: index + 1,
                    last: second,
                    failed: self.failed,
                };
                self.write(&progress::line(&at, columns()));
            }
            Progress::Ended => {}
        }
    }

    fn write(&self, text: &str) {
        let mut out = io::stderr().lock();
        let _nobody_looks = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Drop for Live<'_> {
    /// The report, or what went wrong, begins on an empty line.
    fn drop(&mut self) {
        if self.terminal {
            self.write("\r\x1b[K");
        }
    }
}

/// Asked anew each time: windows are resized.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(io::stderr()).map_or(COLUMNS, |size| match size.ws_col {
        0 => COLUMNS,
        columns => usize::from(columns),
    })
}
