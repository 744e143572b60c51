//! What people and programs read of runs: pure functions from [`Outcome`](crate::outcome::Outcome)s to text.
//!
//! Nothing is measured, judged or averaged here. A verdict comes first wherever there are figures, and a figure that
//! is not known is a dash or an empty cell, never a zero.

pub mod csv;
mod figures;
pub mod hgrm;
pub mod html;
pub mod json;
pub mod progress;
mod runs;
pub mod terminal;
mod units;
