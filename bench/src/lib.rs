//! Micro-benchmarks of pure code.
