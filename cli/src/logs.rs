//! The process log: `tracing` to standard error, as text or JSON, through a writer that never makes anyone wait.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::said::LogFormat;
use crate::writer::{Lines, Target};

/// Sets up the process log.
pub(crate) fn start(filter: &str, format: LogFormat) -> anyhow::Result<Lines> {
    let filter = EnvFilter::try_new(filter).map_err(|error| anyhow::anyhow!("--log-level: {error}"))?;
    let lines = Lines::start(Target::Stderr)?;
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(LineMaker(lines.clone()));
    let set = match format {
        LogFormat::Text => builder.with_ansi(colours).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
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
