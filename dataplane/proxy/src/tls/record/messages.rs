//! What a peer may say after the handshake that is not data: alerts, and the few handshake messages that are left.
//! Pure: bytes in, a [`Message`] out.

use rustls::AlertDescription;

use super::broken::Broken;
use super::keys::Layout;
use super::limits::MESSAGE_BYTES_MAX;

/// Which side we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Side {
    /// The peer connected to us.
    Server,
    /// We connected to the peer.
    Client,
}

/// What an alert means for us, if it does not end the connection at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alert {
    /// The peer will send no more data.
    CloseNotify,
    /// Nothing is to be done.
    Ignored,
}

/// Judges an alert. An error ends the connection.
pub(super) fn alert(layout: Layout, content: &[u8]) -> Result<Alert, Broken> {
    const WARNING: u8 = 1;
    let &[level, description] = content else { return Err(Broken::Unreadable("an alert of a wrong size")) };
    match AlertDescription::from(description) {
        AlertDescription::CloseNotify => Ok(Alert::CloseNotify),
        // A close_notify follows it (RFC 8446 section 6.1).
        AlertDescription::UserCanceled => Ok(Alert::Ignored),
        // The level is of the past in TLS 1.3: all others are errors, whatever it says (section 6).
        _ if layout != Layout::Tls13 && level == WARNING => Ok(Alert::Ignored),
        _ => Err(Broken::Alert(description)),
    }
}

/// A handshake message after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// The peer's next records have a new key; it may want ours to be new as well.
    KeyUpdate { requested: bool },
    /// A ticket, to resume the session with later: what follows the message's header.
    Ticket(&'a [u8]),
    /// A server of TLS 1.2 would like to begin again; we need not (RFC 5246 section 7.4.1.1).
    HelloRequest,
}

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// The message at the front, and what follows it. `None`: more must come first.
pub(super) fn message(
    layout: Layout,
    side: Side,
    bytes: &[u8],
) -> Result<Option<(Message<'_>, &[u8])>, Broken> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    match (layout, side, *kind) {
        (Layout::Tls13, _, KEY_UPDATE) | (Layout::Tls13, Side::Client, NEW_SESSION_TICKET) => {}
        (Layout::Tls12 | Layout::Tls12Explicit, Side::Client, HELLO_REQUEST) => {}
        (Layout::Tls12 | Layout::Tls12Explicit, Side::Server, CLIENT_HELLO) => {
            return Err(Broken::Renegotiation);
        }
        _ => return Err(Broken::Unexpected("a handshake message that has no place after the handshake")),
    }
    let Some(([_, length @ ..], rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
    match *kind {
        KEY_UPDATE if length != 1 => return Err(Broken::Unreadable("a key update of a wrong size")),
        HELLO_REQUEST if length != 0 => return Err(Broken::Unreadable("a hello request of a wrong size")),
        _ if length > MESSAGE_BYTES_MAX => return Err(Broken::Unreadable("a handshake message is too long")),
        _ => {}
    }
    let Some((body, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    let message = match (*kind, body) {
        (KEY_UPDATE, [0]) => Message::KeyUpdate { requested: false },
        (KEY_UPDATE, [1]) => Message::KeyUpdate { requested: true },
        (KEY_UPDATE, _) => return Err(Broken::Illegal("a key update that asks for nothing we know")),
        (HELLO_REQUEST, _) => Message::HelloRequest,
        (_, body) => Message::Ticket(body),
    };
    Ok(Some((message, rest)))
}

/// A key update of ours.
pub(super) fn key_update(request: bool) -> [u8; 5] {
    [KEY_UPDATE, 0, 0, 1, u8::from(request)]
}
