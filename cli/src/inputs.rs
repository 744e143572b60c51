//! From what the user named to what is read: files, directories, standard input, and the manifest of one line.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use ringway_controller::source::{FILE_BYTES_MAX, Made, Root, SourceName};

use crate::args::meant::Input;
use crate::oneline::{self, Forward, Pem};

/// A certificate chain or key longer than this is none.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// What to read. Standard input and pipes are read here, to their end. What is not there is an error now: later, a file
/// that goes missing keeps what it said. `variable` is the one that names the paths, if they are not on the command line.
pub(crate) fn roots(inputs: &[Input], variable: Option<&str>) -> anyhow::Result<Vec<Root>> {
    let named = |(input, root): (&Input, anyhow::Result<Root>)| match (input, variable) {
        (Input::Path(_) | Input::Stdin, Some(variable)) => root.with_context(|| variable.to_owned()),
        _ => root,
    };
    inputs.iter().map(|input| named((input, root(input)))).collect()
}

fn root(input: &Input) -> anyhow::Result<Root> {
    match input {
        Input::Path(path) => {
            let shown = path.display();
            let kind = path.metadata().with_context(|| format!("cannot read {shown}"))?.file_type();
            if kind.is_file() || kind.is_dir() {
                return Ok(Root::Path(path.clone()));
            }
            // A pipe of the shell, `<(…)`, is one as well. What was read of it is gone, so it cannot be followed.
            if kind.is_fifo() || kind.is_char_device() {
                let pipe = fs::File::open(path).with_context(|| format!("cannot read {shown}"))?;
                return Ok(Root::Text(path.to_string_lossy().into(), read_once(pipe, &shown.to_string())?));
            }
            bail!("cannot read {shown}: it is no file, no directory and no pipe");
        }
        Input::Stdin => Ok(Root::Text("-".into(), read_once(std::io::stdin().lock(), "standard input")?)),
        Input::Lines(forwards) => {
            let lines = Lines::new(forwards.clone());
            lines.text().map_err(anyhow::Error::msg)?;
            Ok(Root::Made(Arc::new(lines)))
        }
    }
}

fn read_once(from: impl Read, name: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    from.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).with_context(|| format!("cannot read {name}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        bail!("{name} holds more than the {FILE_BYTES_MAX} bytes that are read");
    }
    Ok(text)
}

/// `--listen` and `--to`, made anew when a certificate is renewed.
#[derive(Debug)]
struct Lines {
    forwards: Vec<Forward>,
    files: Vec<PathBuf>,
}

impl Lines {
    fn new(forwards: Vec<Forward>) -> Self {
        let files = forwards.iter().flat_map(|forward| forward.cert.iter().chain(&forward.key)).cloned();
        Self { files: files.collect(), forwards }
    }
}

impl Made for Lines {
    fn name(&self) -> SourceName {
        "--listen".into()
    }

    fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn text(&self) -> Result<String, String> {
        let pem = |forward: &Forward| match (&forward.cert, &forward.key) {
            (Some(cert), Some(key)) => {
                Ok(Some(Pem { cert: read_pem("--tls-cert", cert)?, key: Some(read_pem("--tls-key", key)?) }))
            }
            _ => Ok(None),
        };
        let pems = self.forwards.iter().map(pem).collect::<Result<Vec<_>, String>>()?;
        Ok(oneline::manifest(&self.forwards, &pems))
    }
}

fn read_pem(flag: &str, path: &Path) -> Result<String, String> {
    let named = |reason: String| format!("{flag} {}: {reason}", path.display());
    let file = fs::File::open(path).map_err(|error| named(error.to_string()))?;
    let mut text = String::new();
    file.take(PEM_BYTES_MAX).read_to_string(&mut text).map_err(|error| named(error.to_string()))?;
    if !text.contains("-----BEGIN ") {
        return Err(named("holds no PEM block (-----BEGIN …)".to_owned()));
    }
    Ok(text)
}

/// The manifest that `--listen` and `--to` stand for, as it could be saved: private keys are left to be filled in.
pub(crate) struct Printed {
    pub(crate) text: String,
    /// How many private keys were left out.
    pub(crate) keys: usize,
}

/// See [`Printed`].
pub(crate) fn printed(inputs: &[Input]) -> anyhow::Result<Printed> {
    let forwards = inputs.iter().filter_map(|input| match input {
        Input::Lines(forwards) => Some(forwards),
        Input::Path(_) | Input::Stdin => None,
    });
    let forwards: Vec<Forward> = forwards.flatten().cloned().collect();
    let pem = |forward: &Forward| {
        forward.cert.as_ref().map(|cert| {
            anyhow::Ok(Pem { cert: read_pem("--tls-cert", cert).map_err(anyhow::Error::msg)?, key: None })
        })
    };
    let pems = forwards.iter().map(|forward| pem(forward).transpose()).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Printed { text: oneline::manifest(&forwards, &pems), keys: pems.iter().flatten().count() })
}
