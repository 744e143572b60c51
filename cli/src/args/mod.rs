//! Arguments: parsed to what was said (`said`), then built to what is meant (`meant`).

mod environment;
mod filter;
pub(crate) mod limits;
pub(crate) mod meant;
pub(crate) mod said;
pub(crate) mod units;
