//! `ringway install` and `ringway uninstall`: manifests to standard output, for kubectl.

use std::io::{self, Write};
use std::process::ExitCode;

use ringway_controller::install::{self, Installation};

use crate::args::said;

const HEADER: &str =
    "# Made by `ringway install`. The Gateway API itself is installed apart: docs/kubernetes.md.\n";

/// Prints everything that is installed, each object after what it needs.
pub(crate) fn install(said: said::Install) -> anyhow::Result<ExitCode> {
    let said::Install { namespace, image, ha, log_level } = said;
    let objects = install::objects(&Installation { namespace, image, high_availability: ha, log_level });
    print(HEADER, &objects)
}

/// Prints what is to be deleted, each object before what it needs.
pub(crate) fn uninstall(said: said::Uninstall) -> anyhow::Result<ExitCode> {
    let objects = install::removal(&said.namespace);
    print("# Made by `ringway uninstall`, for `kubectl delete --ignore-not-found -f -`.\n", &objects)
}

fn print(header: &str, objects: &[serde_json::Value]) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    out.write_all(header.as_bytes())?;
    for object in objects {
        write!(out, "---\n{}", serde_saphyr::to_string(object)?)?;
    }
    Ok(ExitCode::SUCCESS)
}
