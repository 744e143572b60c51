//! `ringway translate`: the proxy configuration that manifests stand for, so that two versions can be compared.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::said;
use crate::offline::{self, Offline};
use crate::{exit, show};

/// Prints the configuration to standard output, and what does not work to standard error; then exit code 1.
pub(crate) fn run(said: &said::Translate) -> anyhow::Result<ExitCode> {
    let offline = Offline::read(&said.manifests.files, offline::options(said.allow_external_name))?;
    let config = &offline.translation.config;
    let text = match said.output {
        said::ValueFormat::Yaml => show::yaml(config)?,
        said::ValueFormat::Json => show::json(config)?,
    };
    io::stdout().write_all(text.as_bytes())?;
    let complaints = offline.complaints();
    for complaint in &complaints {
        writeln!(io::stderr(), "{complaint}")?;
    }
    Ok(if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::PROBLEMS) })
}
