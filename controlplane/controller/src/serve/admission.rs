//! Who may have which configuration.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use ringway_config::GatewayKey;

/// Decides by a proxy's token.
pub trait Admission: Send + Sync + 'static {
    /// Whose token this is. `None`: the proxy showed none.
    fn admit(&self, token: Option<&str>) -> impl Future<Output = Result<Admitted, Refused>> + Send;
}

/// What a token proves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The only gateway whose configuration the proxy may have; `None`: whichever it asks for.
    pub gateway: Option<GatewayKey>,
    /// The only name that it may give; `None`: any.
    pub pod: Option<Arc<str>>,
}

/// Why a proxy is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The token is absent, false, too old or somebody else's: in words that may be told to whoever showed it.
    Denied(String),
    /// It could not be found out now. The proxy comes again.
    Unknown(String),
}

/// Lets in everyone.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Admission for Open {
    async fn admit(&self, _token: Option<&str>) -> Result<Admitted, Refused> {
        Ok(Admitted::default())
    }
}

/// One token for every proxy: whoever has it may have all configuration.
#[derive(Clone)]
pub struct SharedToken(Arc<str>);

impl SharedToken {
    /// `None` if there is nothing in it.
    pub fn new(token: &str) -> Option<Self> {
        let token = token.trim();
        (!token.is_empty()).then(|| Self(token.into()))
    }
}

impl Admission for SharedToken {
    async fn admit(&self, token: Option<&str>) -> Result<Admitted, Refused> {
        match token {
            Some(token) if same(token, &self.0) => Ok(Admitted::default()),
            Some(_) => Err(Refused::Denied("this is not the token".to_owned())),
            None => Err(Refused::Denied("a token is needed".to_owned())),
        }
    }
}

impl fmt::Debug for SharedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedToken")
    }
}

/// Takes as long wherever the first difference is, so that a token cannot be guessed byte by byte.
fn same(one: &str, other: &str) -> bool {
    let differing =
        one.bytes().zip(other.bytes()).fold(0, |differing, (one, other)| differing | (one ^ other));
    one.len() == other.len() && differing == 0
}
