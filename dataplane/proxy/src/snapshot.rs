//! A configuration as all cores get it: compiled once, off-core.

use std::sync::Arc;

use ringway_config::Config;
use ringway_core::Compiled;

use crate::tls::TlsStore;

/// Everything a core needs to swap to a configuration.
#[derive(Clone)]
pub struct Snapshot {
    /// What it was made from.
    pub config: Arc<Config>,
    /// Listeners and routes.
    pub compiled: Arc<Compiled>,
    /// Keys and certificates.
    pub tls: Arc<TlsStore>,
    /// Counts configurations, from 1.
    pub generation: u64,
}
