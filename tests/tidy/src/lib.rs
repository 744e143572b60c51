//! Facts about the tree, as tests.
