//! `.ci/run` does what the README tells people to do.

use crate::Tree;

#[test]
fn the_test_command_of_the_readme_is_the_one_that_is_checked() {
    let tree = Tree::read();
    let command = "cargo test --workspace";
    for path in ["README.md", "CONTRIBUTING.md", ".ci/run"] {
        assert!(tree.text(path).lines().any(|line| line.trim() == command), "{path} has no line {command:?}");
    }
}

#[test]
fn every_step_is_explained_to_contributors() {
    let tree = Tree::read();
    let script = tree.text(".ci/run");
    let steps = script.lines().find_map(|line| line.strip_prefix("steps=(")?.strip_suffix(')'));
    let guide = tree.text("CONTRIBUTING.md");
    let explained: Vec<_> =
        guide.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(explained, steps.expect("the steps stand on one line").split(' ').collect::<Vec<_>>());
}
