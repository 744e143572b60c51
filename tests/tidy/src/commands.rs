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
