//! The process log: `tracing` to standard error, as text or JSON, through a writer that never makes anyone wait.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::said::LogFormat;
use crate::writer::{Lines, Target};

/// Sets up the process log.
pub(crate) fn start(filter: Targets, format: LogFormat) -> anyhow::Result<Lines> {
    let lines = Lines::start(Target::Stderr)?;
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let colours = io::stderr().is_terminal() && wanted;
    let layer = fmt::layer().with_writer(LineMaker(lines.clone()));
    let registry = tracing_subscriber::registry().with(filter);
    let set = match format {
        LogFormat::Text => registry.with(layer.with_ansi(colours)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("the log is set up already: {error}"))?;
    Ok(lines)
}

struct LineMaker(Lines);

impl<'a> MakeWriter<'a> for LineMaker {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { text: Vec::new(), lines: self.0.clone() }
    }
}

/// One event being written; it is handed over whole.
struct Line {
    text: Vec<u8>,
    lines: Lines,
}

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.lines.send(std::mem::take(&mut self.text));
    }
}
