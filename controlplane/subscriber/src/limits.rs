//! Every bound of a proxy's end of the stream, in one place. `docs/limits.md` has them for operators.

use std::time::Duration;

/// How long a connection to the controller may take to be made.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long the controller may say nothing: three of its heartbeats.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(15);

/// The first pause before connecting again, and the longest. Each is drawn from its upper half.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(100);
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How often a listener that has no socket is tried again.
pub(crate) const RETRY_BINDS: Duration = Duration::from_secs(1);

/// A message from the controller: its largest resource, with room for the names of what is removed.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// What may come before a batch ends: it is held until then.
pub(crate) const CHANGE_BYTES_MAX: usize = 512 << 20;

/// The file of the last good configuration. A larger one is neither written nor read.
pub(crate) const FILE_BYTES_MAX: usize = 256 << 20;

/// A token or an authority's certificates.
pub(crate) const SECRET_BYTES_MAX: u64 = 1 << 20;

/// Resources of kinds that this version does not know, of which the controller is told.
pub(crate) const UNKNOWN_MAX: usize = 100;
