//! The `ringway` binary: arguments in, one of the crates below called; nothing decided here.

fn main() {}
