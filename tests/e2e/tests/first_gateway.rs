//! `docs/first-gateway.md` does what it says: its commands run, one after the other, and print what the page shows.
//!
//! Only the ports are others. Shown lines must be printed in their order, with others between them; `…` is anything.

use std::path::Path;
use std::process::Command;

use ringway_e2e::{Folder, binary, free_port, peer};

const PAGE: &str = include_str!("../../../docs/first-gateway.md");
const EXAMPLE: &str = "docs/first-gateway";

/// A command of the page and what it shows.
struct Step<'p> {
    command: &'p str,
    shown: Vec<&'p str>,
}

fn blocks<'p>(page: &'p str, kind: &str) -> Vec<&'p str> {
    let opening = format!("```{kind}\n");
    page.split(opening.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

fn steps(page: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for line in blocks(page, "console").into_iter().flat_map(str::lines) {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step { command, shown: Vec::new() }),
            None => steps.last_mut().expect("a block begins with a command").shown.push(line),
        }
    }
    steps
}

/// Whether a printed line is as shown.
fn fits(shown: &str, printed: &str) -> bool {
    let mut rest = printed.trim();
    shown.trim().split('…').map(str::trim).all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[test]
fn every_command_of_the_page_prints_what_it_shows() {
    let folder = Folder::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let ports: Vec<_> = ["8080", "8443", "9001", "9002", "15000"].map(|shown| (shown, free_port())).into();
    let with_ports = |text: &str| {
        ports
            .iter()
            .fold(text.to_owned(), |text, (shown, port)| text.replace(shown, &port.number().to_string()))
    };
    let example = folder.path().join(EXAMPLE);
    std::fs::create_dir_all(&example).unwrap();
    for file in std::fs::read_dir(root.join(EXAMPLE)).unwrap() {
        let file = file.unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        std::fs::write(example.join(file.file_name()), with_ports(&text)).unwrap();
    }
    // All in one shell, which says where each command's output ends.
    const MARK: &str = "@@ the next command";
    let steps = steps(PAGE);
    let script: String =
        steps.iter().map(|step| format!("{}\necho '{MARK}'\n", with_ports(step.command))).collect();
    let path = format!("{}:{}", binary().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new(peer::program("bash"));
    bash.arg("-s").current_dir(folder.path()).env("PATH", path);
    bash.env("RINGWAY_ADMIN_ADDR", with_ports("127.0.0.1:15000"));
    let done = peer::run(&mut bash, script.as_bytes());
    let outputs: Vec<&str> = done.out.split(MARK).collect();
    assert_eq!(outputs.len(), steps.len() + 1, "{}", done.all());
    for (step, output) in steps.iter().zip(outputs) {
        let mut printed = output.lines();
        for shown in step.shown.iter().map(|line| with_ports(line)) {
            assert!(printed.any(|line| fits(&shown, line)), "$ {}\nno {shown:?} in\n{output}", step.command);
        }
    }
}

#[test]
fn the_files_of_the_page_are_those_of_the_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(EXAMPLE);
    let files = ["gateway.yaml", "routes.yaml"].map(|file| std::fs::read_to_string(root.join(file)).unwrap());
    let shown = blocks(PAGE, "yaml");
    assert_eq!(shown, files.each_ref().map(|file| file.trim_end()));
}
