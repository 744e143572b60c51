//! Clients' certificates: who must show one, who is believed, and for how long a resumed session may stand for it.
//!
//! One [`Visitor`] is one handshake at a listener that asks for certificates. It verifies what is shown; it also gives
//! and takes that handshake's tickets, because a resumed session shows the certificate of an earlier one: that is
//! verified again before a ticket opens, and a client whose certificate no longer holds makes a full handshake and
//! can show a newer one.

use std::sync::{Arc, Mutex};

use ringway_config::{ClientValidation, ClientValidationMode};
use ringway_core::PeerIdentity;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::identity::identity;
use super::server::{TlsFault, roots};
use super::tickets::Tickets;
use super::{Clock, TlsFailure, provider};

/// Certificates of a chain that are looked for in a ticket. A client with a longer chain gets no ticket.
const CHAIN_MAX: usize = 8;

/// What a listener asks of its clients.
#[derive(Debug)]
pub(super) struct Clients {
    strict: Arc<dyn ClientCertVerifier>,
    mode: ClientValidationMode,
    clock: Clock,
}

impl Clients {
    /// `None` when no trust anchor is usable.
    pub(super) fn new(
        validation: &ClientValidation,
        clock: &Clock,
        faults: &mut Vec<TlsFault>,
    ) -> Option<Self> {
        let roots = roots(&validation.authorities, faults)?;
        let strict = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider())).build();
        let Ok(strict) = strict else {
            faults.push(TlsFault::NoAuthority);
            return None;
        };
        Some(Self { strict, mode: validation.mode, clock: clock.clone() })
    }

    fn required(&self) -> bool {
        self.mode == ClientValidationMode::AllowValidOnly
    }
}

/// One handshake of one client.
#[derive(Debug)]
pub(super) struct Visitor {
    clients: Arc<Clients>,
    tickets: Arc<Tickets>,
    /// The chain that was verified last in this handshake, leaf first; empty if none. Never contended: a handshake runs
    /// on one core.
    believed: Mutex<Vec<CertificateDer<'static>>>,
}

impl Visitor {
    pub(super) fn new(clients: &Arc<Clients>, tickets: &Arc<Tickets>) -> Self {
        Self { clients: Arc::clone(clients), tickets: Arc::clone(tickets), believed: Mutex::default() }
    }

    /// Who the client is, after its handshake ended with this chain. What was believed must be what it ended with: a
    /// ticket that opened need not be the one that the session was resumed from.
    pub(super) fn identify(&self, chain: &[CertificateDer<'_>]) -> Result<Option<PeerIdentity>, TlsFailure> {
        match (chain, &*self.believed()) {
            ([leaf, ..], believed) if believed == chain => Ok(Some(identity(leaf))),
            _ if self.clients.required() => Err(TlsFailure::NoCertificate),
            _ => Ok(None),
        }
    }

    fn believed(&self) -> std::sync::MutexGuard<'_, Vec<CertificateDer<'static>>> {
        // Replaced in one assignment, so a panic elsewhere leaves no half of one.
        self.believed.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn verify(
        &self,
        chain: Vec<CertificateDer<'static>>,
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.believed().clear();
        let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let verified = self.clients.strict.verify_client_cert(leaf, intermediates, now)?;
        *self.believed() = chain;
        Ok(verified)
    }
}

/// Without a valid certificate the handshake fails, or goes on with a client that nobody knows.
///
/// The proof that the client has the certificate's key is asked for in either case: without it, anybody could show
/// somebody else's certificate and be believed.
impl ClientCertVerifier for Visitor {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.clients.required()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.strict.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = std::iter::once(leaf).chain(intermediates).map(|der| der.clone().into_owned());
        match self.verify(chain.collect(), now) {
            Err(_) if !self.clients.required() => Ok(ClientCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if unreadable(leaf) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        self.clients.strict.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if unreadable(leaf) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        self.clients.strict.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.clients.strict.supported_verify_schemes()
    }
}

/// Whether a certificate cannot be read at all. It is never believed: verification reads it the same way and fails, so
/// that nothing rests on its signature.
fn unreadable(leaf: &CertificateDer<'_>) -> bool {
    webpki::EndEntityCert::try_from(leaf).is_err()
}

/// A ticket says where in the session the chain that was believed is: a count, then offset and length of each
/// certificate, four bytes each, then the session.
impl ProducesTickets for Visitor {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let believed = self.believed();
        if believed.len() > CHAIN_MAX {
            return None;
        }
        let mut marked = vec![u8::try_from(believed.len()).ok()?];
        for certificate in believed.iter() {
            // A session that does not hold the chain cannot be judged when it comes back: no ticket.
            let offset =
                session.windows(certificate.len()).position(|window| window == certificate.as_ref())?;
            marked.extend(u32::try_from(offset).ok()?.to_be_bytes());
            marked.extend(u32::try_from(certificate.len()).ok()?.to_be_bytes());
        }
        marked.extend(session);
        self.tickets.encrypt(&marked)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let marked = self.tickets.decrypt(ticket)?;
        let (count, rest) = marked.split_first()?;
        let (marks, session) = rest.split_at_checked(usize::from(*count) * 8)?;
        let (marks, _) = marks.as_chunks::<4>();
        let chain = marks.as_chunks::<2>().0.iter().map(|[offset, length]| {
            let (offset, length) =
                (u32::from_be_bytes(*offset) as usize, u32::from_be_bytes(*length) as usize);
            let certificate = session.get(offset..offset.checked_add(length)?)?;
            Some(CertificateDer::from(certificate.to_vec()))
        });
        let chain = chain.collect::<Option<Vec<_>>>()?;
        if !chain.is_empty() {
            self.verify(chain, self.clients.clock.now()).ok()?;
        }
        Some(session.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::der_of;
    use super::super::testing::{Authority, leaf, start, validation};
    use super::*;

    struct Door {
        clients: Arc<Clients>,
        tickets: Arc<Tickets>,
        chain: Vec<CertificateDer<'static>>,
        other: Vec<CertificateDer<'static>>,
    }

    impl Door {
        fn new(mode: ClientValidationMode) -> Self {
            let authority = Authority::new("authority");
            let (clock, _hand) = Clock::driven(start());
            let clients =
                Clients::new(&validation(&authority, mode).unwrap(), &clock, &mut Vec::new()).unwrap();
            let chain = |name| {
                let issued = authority.issue("client", leaf(&[name]));
                issued.chain.iter().map(|der| der_of(der).into_owned()).collect()
            };
            let (chain, other) = (chain("client.org"), chain("other.org"));
            Self { clients: Arc::new(clients), tickets: Arc::new(Tickets::new(clock)), chain, other }
        }

        fn visitor(&self) -> Visitor {
            Visitor::new(&self.clients, &self.tickets)
        }

        /// The ticket of a visitor who showed the chain, and a session that holds it.
        fn ticket(&self) -> (Vec<u8>, Vec<u8>) {
            let visitor = self.visitor();
            visitor.verify_client_cert(&self.chain[0], &[], self.clients.clock.now()).unwrap();
            let session = [b"before", self.chain[0].as_ref(), b"after"].concat();
            (visitor.encrypt(&session).unwrap(), session)
        }
    }

    #[test]
    fn a_ticket_that_opened_makes_nobody_known_unless_the_session_went_on_from_it() {
        for mode in [ClientValidationMode::AllowValidOnly, ClientValidationMode::AllowInsecureFallback] {
            let door = Door::new(mode);
            let (ticket, session) = door.ticket();
            let visitor = door.visitor();
            assert_eq!(visitor.decrypt(&ticket), Some(session));
            let known = visitor.identify(&door.chain).unwrap().unwrap();
            assert_eq!(known.dns_names, ["client.org"]);
            let unknown = match mode {
                ClientValidationMode::AllowValidOnly => Err(TlsFailure::NoCertificate),
                ClientValidationMode::AllowInsecureFallback => Ok(None),
            };
            assert_eq!(visitor.identify(&[]), unknown);
            assert_eq!(visitor.identify(&door.other), unknown);
            assert_eq!(door.visitor().identify(&door.chain), unknown, "nothing was verified");
        }
    }

    #[test]
    fn a_session_without_the_chain_that_was_believed_gets_no_ticket() {
        let door = Door::new(ClientValidationMode::AllowValidOnly);
        let visitor = door.visitor();
        visitor.verify_client_cert(&door.chain[0], &[], door.clients.clock.now()).unwrap();
        assert_eq!(visitor.encrypt(b"a session that says nothing of it"), None);
    }
}
