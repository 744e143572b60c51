//! `ringway validate`: everything that is wrong with manifests, at once, without serving them.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use ringway_gateway_api::validate::{Finding, Severity};
use serde_json::{Value, json};

use crate::args::said;
use crate::offline::{self, Offline};
use crate::{codes, exit, show};

/// Prints what is wrong; exit code 1 if an object, or a part of one, does not work.
pub(crate) fn run(said: &said::Validate) -> anyhow::Result<ExitCode> {
    if let Some(code) = &said.explain {
        io::stdout().write_all(codes::explain(code)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let offline = Offline::read(&said.files, offline::options(said.allow_external_name))?;
    let text = match said.output {
        said::ProblemFormat::Json => show::json(&as_json(&offline))?,
        said::ProblemFormat::Text => as_text(&offline)?,
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if offline.errors() > 0 { ExitCode::from(exit::PROBLEMS) } else { ExitCode::SUCCESS })
}

fn as_text(offline: &Offline) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for finding in &offline.findings {
        writeln!(text, "{finding}")?;
    }
    let counted = [
        (offline.objects, "object"),
        (offline.errors(), "error"),
        (offline.count(Severity::Warning), "warning"),
        (offline.count(Severity::Notice), "notice"),
    ];
    let counted = counted.map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }));
    writeln!(text, "{}", counted.join(", "))?;
    Ok(text)
}

fn as_json(offline: &Offline) -> Value {
    json!({
        "objects": offline.objects,
        "errors": offline.errors(),
        "warnings": offline.count(Severity::Warning),
        "notices": offline.count(Severity::Notice),
        "findings": offline.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

/// A finding for tools.
pub(crate) fn finding(finding: &Finding) -> Value {
    json!({
        "file": &*finding.place.source,
        "line": finding.place.line,
        "column": finding.place.column,
        "severity": finding.severity.to_string(),
        "code": finding.code.to_string(),
        "object": finding.object.to_string(),
        "field": finding.field,
        "message": finding.message,
        "hint": finding.hint,
    })
}
