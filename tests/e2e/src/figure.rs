//! Figures that a run shows. They go past the test runner's capture, so that a green run shows them too.

use std::fmt::Display;
use std::io::Write;

/// Shows one figure with the command that makes it again.
pub fn figure(suite: &str, name: &str, value: impl Display) {
    let line = format!("figure: {name} = {value}  (tests/e2e/run {suite})\n");
    let _nobody_listens = std::io::stderr().write_all(line.as_bytes());
}
