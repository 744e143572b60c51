//! Every bound of serving, in one place. `docs/limits.md` has them for operators.

use std::time::Duration;

/// How often a proxy hears what it should have.
pub(super) const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// How long a proxy may take to read and acknowledge what it was sent, before its connection is cut.
pub(super) const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(30);

/// How long a connection may take from its first byte to its `Hello`.
pub(super) const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// How long a controller that is behind what a proxy reports holds back. Longer can only mean that the cluster's history
/// was set back, as a restored backup does.
pub(super) const BEHIND_AT_MOST: Duration = Duration::from_secs(300);

/// Connections at once. A proxy has one.
pub(super) const CONNECTIONS_MAX: usize = 16_384;

/// A message from a proxy: a `Hello` that names 100,000 resources fits.
pub(super) const FROM_PROXY_BYTES_MAX: usize = 16 << 20;

/// A resource. A larger one is told of and not published: the version before it stays.
pub(super) const RESOURCE_BYTES_MAX: usize = 8 << 20;

/// A message to a proxy, unless one resource alone is larger.
pub(super) const BATCH_BYTES: usize = 256 << 10;

/// What HTTP/2 may hold back for a proxy that does not read.
pub(super) const SEND_BUFFER_BYTES: usize = 256 << 10;

/// Refusals and failed binds that are remembered of a proxy.
pub(super) const REFUSALS_MAX: usize = 1_000;

/// A reason that a proxy gives, in bytes.
pub(super) const REASON_BYTES_MAX: usize = 512;

/// Names of removed resources that are remembered of a gateway, for proxies that have not been told; beyond it, as many
/// as the gateway has resources.
pub(super) const REMOVED_MIN: usize = 1_024;

/// Changes that are kept ready for the next proxy that needs the same one.
pub(super) const CHANGES_KEPT: usize = 4;
