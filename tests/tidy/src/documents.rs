//! What documents name exists, and they are clean.

use crate::Tree;

#[test]
fn documents_are_clean_at_their_ends() {
    let tree = Tree::read();
    for path in tree.ending(".md") {
        let text = tree.text(path);
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{path} ends with one line feed");
        for (at, line) in text.lines().enumerate() {
            assert_eq!(line.trim_end(), line, "{path}:{} has blanks at its end", at + 1);
        }
    }
}
