//! TLS for scripted peers: rustls over a simulated socket, and certificates whose sizes repeat.
//!
//! Keys are new in every run and contents differ; lengths do not, because keys are Ed25519 and serial numbers fixed.
//! So traces stay equal.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rcgen::{CertificateParams, KeyPair, SerialNumber};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::network::SimSocket;
use crate::peer::wire::Wire;

/// A certificate that is its own authority, with its key.
pub struct Identity {
    /// DER.
    pub certificate: CertificateDer<'static>,
    /// DER, PKCS#8.
    pub key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    /// For a host.
    pub fn new(host: &str) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("an Ed25519 key can be made");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("the host is a name");
        // One made from the key would begin with a zero byte now and then, and be a byte longer.
        params.serial_number = Some(SerialNumber::from(7));
        let certificate = params.self_signed(&key).expect("a certificate can be signed");
        Self { certificate: certificate.der().clone(), key: PrivatePkcs8KeyDer::from(key.serialize_der()) }
    }

    /// How a client that trusts it connects.
    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("it is a certificate");
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has them");
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// How a server that shows it answers.
    pub fn server(&self, alpn: &[&str]) -> Arc<ServerConfig> {
        let builder =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("the provider has them");
        let key = PrivateKeyDer::Pkcs8(self.key.clone_key());
        let config = builder.with_no_client_auth().with_single_cert(vec![self.certificate.clone()], key);
        let mut config = config.expect("the key is the certificate's");
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// TLS over a simulated socket. The handshake happens as bytes are read and written.
pub struct Tls {
    socket: SimSocket,
    session: RefCell<Session>,
}

struct Session {
    connection: rustls::Connection,
    /// Records that the socket has not taken yet.
    outgoing: Vec<u8>,
    finished: bool,
}

impl Tls {
    /// The side that connected, to a host.
    pub fn client(socket: SimSocket, config: Arc<ClientConfig>, host: &'static str) -> Self {
        let host = ServerName::try_from(host).expect("the host is a name");
        let connection = ClientConnection::new(config, host).expect("the configuration is whole");
        Self::new(socket, connection.into())
    }

    /// The side that accepted.
    pub fn server(socket: SimSocket, config: Arc<ServerConfig>) -> Self {
        Self::new(socket, ServerConnection::new(config).expect("the configuration is whole").into())
    }

    fn new(socket: SimSocket, connection: rustls::Connection) -> Self {
        let session = Session { connection, outgoing: Vec::new(), finished: false };
        Self { socket, session: RefCell::new(session) }
    }
}

impl Session {
    /// Gives the socket what it takes of the records that are due.
    fn poll_flush(&mut self, socket: &SimSocket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.outgoing)?;
        }
        while !self.outgoing.is_empty() {
            let count = ready!(socket.poll_write(cx, &self.outgoing))?;
            self.outgoing.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes records, or the end, from the socket.
    fn poll_receive(&mut self, socket: &SimSocket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; 4096];
        let count = ready!(socket.poll_read(cx, &mut piece))?;
        let mut piece = &piece[..count];
        loop {
            self.connection.read_tls(&mut piece)?;
            if let Err(error) = self.connection.process_new_packets() {
                // The alert that says why.
                let _ = self.poll_flush(socket, cx);
                return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, error)));
            }
            if piece.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Wire for Tls {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut session = self.session.borrow_mut();
        loop {
            // What the handshake has to say goes out beside the reading; if it cannot, reading goes on.
            if let Poll::Ready(result) = session.poll_flush(&self.socket, cx) {
                result?;
            }
            match session.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(session.poll_receive(&self.socket, cx))?;
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut session = self.session.borrow_mut();
        while session.connection.is_handshaking() {
            ready!(session.poll_flush(&self.socket, cx))?;
            if session.connection.is_handshaking() {
                ready!(session.poll_receive(&self.socket, cx))?;
            }
        }
        ready!(session.poll_flush(&self.socket, cx))?;
        let count = session.connection.writer().write(bytes)?;
        // They are the session's now, and leave with the next flush at the latest.
        if let Poll::Ready(result) = session.poll_flush(&self.socket, cx) {
            result?;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.borrow_mut().poll_flush(&self.socket, cx)
    }

    fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        if !std::mem::replace(&mut session.finished, true) {
            session.connection.send_close_notify();
        }
        ready!(session.poll_flush(&self.socket, cx))?;
        self.socket.poll_finish(cx)
    }

    fn socket(&self) -> &SimSocket {
        &self.socket
    }
}
