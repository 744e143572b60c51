//! End-to-end tests: the real binary over real sockets, scripted and real peers.
#![forbid(unsafe_code)]
