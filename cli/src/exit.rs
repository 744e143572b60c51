//! Exit codes. Scripts match on them: a code keeps its meaning.

use std::fmt::Write;

pub(crate) const PROBLEMS: u8 = 1;
pub(crate) const MISUSE: u8 = 2;
pub(crate) const NOT_STARTED: u8 = 3;
pub(crate) const CUT_SHORT: u8 = 4;
pub(crate) const FAULT: u8 = 5;

/// What each means, for `--help` and `docs/cli.md`.
const MEANINGS: [(u8, &str); 6] = [
    (0, "all is well"),
    (PROBLEMS, "problems were found (validate), or the request would not be served (explain)"),
    (MISUSE, "the command line is wrong, or a variable that stands for a flag"),
    (NOT_STARTED, "could not start: a file that is not there, a port that is taken"),
    (CUT_SHORT, "stopped by a second signal before everything was finished"),
    (FAULT, "a fault of ringway's own: please report it"),
];

/// A line each, for `--help`.
pub(crate) fn listed() -> String {
    MEANINGS.iter().fold("Exit codes:".to_owned(), |mut text, (code, meaning)| {
        write!(text, "\n  {code}  {meaning}").expect("a String takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_these_codes_and_meanings() {
        let document = include_str!("../../docs/cli.md");
        let (_, section) = document.split_once("## Exit codes").expect("a section of its own");
        let section = section.split("\n## ").next().expect("it has a first part");
        let written: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        let rows: Vec<_> = MEANINGS.iter().map(|(code, meaning)| format!("| {code} | {meaning} |")).collect();
        assert_eq!(written, rows, "docs/cli.md should have these rows:\n{}", rows.join("\n"));
    }
}
