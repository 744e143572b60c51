//! A proxy's end of the stream: takes configuration from a controller, puts it in force, answers, and keeps the last good
//! one in a file to start from when the controller is away.
//!
//! What was told and what of it is good is decided by pure code (`held`); [`Subscriber`] does the I/O. Knows nothing of
//! how traffic is carried: that is a [`DataPlane`](ringway_config::DataPlane).
#![forbid(unsafe_code)]

mod backoff;
mod connect;
mod held;
mod keep;
mod limits;
mod subscriber;

use std::path::PathBuf;

pub use held::Refused;
pub use subscriber::{Report, Subscriber};

/// Who this proxy is and where its controller is.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `https://host:port`; `http` is for tests and for a tunnel that is safe itself.
    pub controller: String,
    /// `namespace/name` of the Gateway.
    pub gateway: String,
    /// What this proxy is called: its pod.
    pub name: String,
    /// Its version, for people.
    pub version: String,
    /// The token that it shows; read for each connection.
    pub token_file: Option<PathBuf>,
    /// Who may have signed the controller's certificate; read for each connection.
    pub ca_file: Option<PathBuf>,
    /// Where the last good configuration is kept.
    pub last_good: Option<PathBuf>,
}

/// Settings that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SettingsError {
    reason: String,
}

impl Settings {
    /// Finds what can never work, before anything is tried.
    pub fn check(&self) -> Result<(), SettingsError> {
        let wrong = |reason: &str| Err(SettingsError { reason: reason.to_owned() });
        let endpoint = connect::endpoint(&self.controller)?;
        match endpoint.uri().scheme_str() {
            Some("https") if self.ca_file.is_none() => {
                wrong("https:// to the controller needs a file with the certificate of its authority")
            }
            Some("http") if self.ca_file.is_some() => {
                wrong("http:// to the controller has no certificate to check: write https://")
            }
            Some("https" | "http") => match self.gateway.split('/').collect::<Vec<_>>()[..] {
                [namespace, name] if !namespace.is_empty() && !name.is_empty() => Ok(()),
                _ => wrong("a gateway is named by namespace/name"),
            },
            _ => wrong("the controller's address begins with https:// (or http://)"),
        }
    }
}
