//! What cores tell each other. A core owns all of its state; this is the only way to change another's.

use ringway_config::Bind;

/// A message to a core. `U` is a socket that no core owns yet.
pub enum Message<U> {
    /// A socket to serve, beside those that are served already.
    Listen {
        /// Where it is bound.
        bind: Bind,
        /// The socket.
        socket: U,
    },
    /// Serve this bind no more: empty the accept queue, then close the sockets.
    Unlisten(Bind),
    /// Begin to drain: tell clients, finish what is under way.
    Drain,
}
