//! Micro-benchmarks of pure code, in `benches/`. Their names are stable, so that results can be compared over time.
//!
//! `cargo bench -p ringway-bench` runs them all; `counted` counts instructions and holds them against `instructions.tsv`. What a whole proxy does is measured by `perf`, not here.
#![forbid(unsafe_code)]
