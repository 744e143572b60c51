//! What is kept of rustls after the handshake: the secrets that new keys are made of, and where tickets go.

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, Error};

use super::broken::Broken;
use super::messages::Side;

/// New keys and tickets.
pub(in super::super) enum Renewal {
    /// TLS 1.3 with a client.
    Server(KernelConnection<ServerConnectionData>),
    /// TLS 1.3 with a server.
    Client(KernelConnection<ClientConnectionData>),
    /// TLS 1.2 keeps the keys that it has.
    Never(Side),
}

impl Renewal {
    pub(super) fn side(&self) -> Side {
        match self {
            Self::Server(_) => Side::Server,
            Self::Client(_) => Side::Client,
            Self::Never(side) => *side,
        }
    }

    /// The next secrets to send with.
    pub(super) fn sending(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Broken> {
        made(match self {
            Self::Server(kernel) => kernel.update_tx_secret(),
            Self::Client(kernel) => kernel.update_tx_secret(),
            Self::Never(_) => return Err(Broken::Exhausted),
        })
    }

    /// The next secrets to receive with.
    pub(super) fn receiving(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Broken> {
        made(match self {
            Self::Server(kernel) => kernel.update_rx_secret(),
            Self::Client(kernel) => kernel.update_rx_secret(),
            Self::Never(_) => return Err(Broken::Exhausted),
        })
    }

    /// Keeps a ticket for the next connection.
    pub(super) fn keep_ticket(&mut self, ticket: &[u8]) -> Result<(), Broken> {
        match self {
            Self::Client(kernel) => {
                kernel.handle_new_session_ticket(ticket).map_err(|_| Broken::Unreadable("a broken ticket"))
            }
            Self::Server(_) | Self::Never(_) => Err(Broken::Unexpected("a ticket from a client")),
        }
    }
}

fn made<T>(secrets: Result<T, Error>) -> Result<T, Broken> {
    secrets.map_err(|_| Broken::Internal("no new key could be made"))
}
