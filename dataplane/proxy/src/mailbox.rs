//! What cores tell each other. A core owns all of its state; this is the only way to change another's.

use std::sync::Arc;

use ringway_config::{Bind, ClusterKey};
use ringway_core::admission::{clients, tokens};
use ringway_core::health::{News, Report};
use ringway_core::record;

use crate::admission::{LimitId, Terms};
use crate::snapshot::Snapshot;

/// A message to a core. `U` is a socket that no core owns yet.
pub enum Message<U> {
    /// Swap to this configuration, then answer.
    Configure(Arc<Snapshot>, Done),
    /// A socket to serve, beside those that are served already.
    Listen {
        /// Where it is bound.
        bind: Bind,
        /// The socket.
        socket: U,
    },
    /// A connection to serve that another core has accepted: that one has more to do.
    Connection {
        /// Where it came in.
        bind: Bind,
        /// The connection.
        socket: U,
        /// The core that accepted it, and is to hear of its end.
        from: usize,
    },
    /// A connection that this core handed on has ended.
    ConnectionEnded,
    /// Serve this bind no more: empty the accept queue, close the sockets, then answer.
    Unlisten(Bind, Done),
    /// Say what was counted so far.
    Report(flume::Sender<record::Snapshot>),
    /// About tokens of a limit; to its home.
    LimitToHome {
        /// Which.
        limit: LimitId,
        /// The core that tells.
        core: usize,
        /// What that core knows of the limit.
        terms: Terms,
        /// What it tells.
        message: tokens::ToHome,
    },
    /// About tokens of a limit; from its home.
    LimitToCore {
        /// Which.
        limit: LimitId,
        /// What the home tells.
        message: tokens::ToCore,
    },
    /// About connections of a client address; to its home.
    ClientsToHome {
        /// The core that tells.
        core: usize,
        /// What it tells.
        message: clients::ToHome,
    },
    /// About connections of a client address; from its home.
    ClientsToCore(clients::ToCore),
    /// How an attempt at an endpoint went; to its cluster's home.
    Observed {
        /// Which.
        cluster: ClusterKey,
        /// The core that tells.
        core: usize,
        /// What was seen.
        report: Report,
    },
    /// What a cluster's home decided about an endpoint.
    News {
        /// Which.
        cluster: ClusterKey,
        /// The decision.
        news: News,
    },
    /// Go on serving, but keep no connection alive.
    Retire,
    /// Begin to drain: tell clients, finish what is under way, and answer when no connection is left.
    Drain(Done),
}

/// Whoever sent a message hears that it was done; if the core ended instead, the channel closes.
pub type Done = flume::Sender<()>;
