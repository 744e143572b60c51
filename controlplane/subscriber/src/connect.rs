//! Reaches the controller and shows it who this is. I/O only.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use futures::channel::mpsc::{Sender, channel};
use ringway_wire::proto::configuration_client::ConfigurationClient;
use ringway_wire::proto::{FromController, FromProxy, Hello, from_proxy};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::limits::{CONNECT_WITHIN, MESSAGE_BYTES_MAX, SECRET_BYTES_MAX, SILENCE_MAX};
use crate::{Settings, SettingsError};

/// What may be said and not read by the network yet.
const WORDS_MAX: usize = 16;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot read {path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the token in {} is no word of ASCII", .0.display())]
    Token(PathBuf),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("cannot connect: {}", causes(.0))]
    Connect(#[from] tonic::transport::Error),
    #[error("the controller refuses: {}", .0.message())]
    Refused(Box<Status>),
    #[error("the controller does not answer")]
    Late,
}

/// A stream: what the controller says, and how to answer.
pub(crate) struct Stream {
    pub(crate) messages: Streaming<FromController>,
    pub(crate) say: Sender<FromProxy>,
}

/// Connects. Token and authority are read anew each time: both are renewed while this runs.
pub(crate) async fn connect(settings: &Settings, hello: Hello) -> Result<Stream, ConnectError> {
    let mut endpoint = endpoint(&settings.controller)?;
    if let Some(path) = &settings.ca_file {
        let authority = Certificate::from_pem(secret(path)?);
        endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(authority))?;
    }
    let token = settings.token_file.as_deref().map(token).transpose()?;
    let channel = endpoint.connect().await?;
    let (mut say, words) = channel_of_words();
    let first = FromProxy { message: Some(from_proxy::Message::Hello(hello)) };
    say.try_send(first).map_err(|_| ConnectError::Late)?;
    let mut request = Request::new(words);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token);
    }
    let mut client = ConfigurationClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let answer = tokio::time::timeout(SILENCE_MAX, client.subscribe(request));
    let answer = answer.await.map_err(|_| ConnectError::Late)?;
    Ok(Stream {
        messages: answer.map_err(|status| ConnectError::Refused(Box::new(status)))?.into_inner(),
        say,
    })
}

fn channel_of_words() -> (Sender<FromProxy>, futures::channel::mpsc::Receiver<FromProxy>) {
    channel(WORDS_MAX)
}

/// Where the controller is.
pub(crate) fn endpoint(controller: &str) -> Result<Endpoint, SettingsError> {
    let endpoint = Endpoint::from_shared(controller.to_owned()).map_err(|error| SettingsError {
        reason: format!("`{controller}` is no address of a controller ({error}); write https://host:15010"),
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT_WITHIN)
        .http2_keep_alive_interval(CONNECT_WITHIN)
        .keep_alive_timeout(SILENCE_MAX)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .tcp_nodelay(true))
}

fn token(path: &Path) -> Result<MetadataValue<Ascii>, ConnectError> {
    let text = String::from_utf8(secret(path)?).map_err(|_| ConnectError::Token(path.to_owned()))?;
    let value = MetadataValue::try_from(format!("Bearer {}", text.trim()));
    let mut value = value.map_err(|_| ConnectError::Token(path.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn secret(path: &Path) -> Result<Vec<u8>, ConnectError> {
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(SECRET_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| ConnectError::File { path: path.to_owned(), source })
}

/// An error with what it comes from: the outermost alone says "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(error.source(), |error| error.source());
    let texts: Vec<_> = chain.map(ToString::to_string).collect();
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}
