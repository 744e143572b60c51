//! Micro-benchmarks of pure code, in `benches/`. Their names are stable, so that results can be compared over time.
//!
//! `cargo bench -p ringway-bench` runs them all. What a whole proxy does is measured by `perf`, not here.
#![forbid(unsafe_code)]
