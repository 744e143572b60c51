//! What the documents list is what there is.

use ringway_core::Flag;

#[test]
fn every_response_flag_is_explained() {
    let document = include_str!("../../docs/troubleshooting.md");
    let (_, table) = document.split_once("## Response flags").expect("a section of its own");
    let explained: Vec<_> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let flags: Vec<_> = Flag::ALL.into_iter().map(Flag::letters).collect();
    assert_eq!(explained, flags);
}
