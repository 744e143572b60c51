//! The file of the last good configuration: written whole beside the old one and renamed over it, readable by its owner
//! alone, since it holds private keys. A file that is broken, too large or of another gateway is none.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use prost::Message;
use ringway_config::Config;
use ringway_wire::proto::{Batch, Hello, Position};
use ringway_wire::{Version, encode};

use crate::limits::FILE_BYTES_MAX;

/// What the file begins with; the last digit is the form of what follows.
const MAGIC: [u8; 8] = *b"ringway1";
const HEAD: usize = MAGIC.len() + size_of::<u64>();

/// Why there is no last good configuration, or why it could not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it has {0} bytes; at most {FILE_BYTES_MAX} are kept")]
    TooLarge(usize),
    #[error("it is damaged, or no such file")]
    Damaged,
    #[error("it is that of gateway {0}")]
    OtherGateway(String),
}

/// What the file holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) resources: Vec<Bytes>,
    pub(crate) positions: Vec<Position>,
}

/// The bytes of a file.
fn to_bytes(gateway: &str, config: &Config, positions: &[Position]) -> Result<Vec<u8>, KeepError> {
    let hello = Hello { gateway: gateway.to_owned(), position: positions.to_vec(), ..Hello::default() };
    let batch =
        Batch { set: config.resources().map(|resource| encode(&resource)).collect(), ..Batch::default() };
    let size = HEAD + hello.encoded_len() + batch.encoded_len();
    if size > FILE_BYTES_MAX {
        return Err(KeepError::TooLarge(size));
    }
    let mut bytes = vec![0; HEAD];
    // A vector takes everything.
    let written = hello.encode_length_delimited(&mut bytes).and_then(|()| batch.encode(&mut bytes));
    written.map_err(|_| KeepError::TooLarge(size))?;
    let sum = Version::of(&bytes[HEAD..]).to_wire();
    bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    bytes[MAGIC.len()..HEAD].copy_from_slice(&sum.to_be_bytes());
    Ok(bytes)
}

fn from_bytes(gateway: &str, mut bytes: Bytes) -> Result<Kept, KeepError> {
    if bytes.len() < HEAD || bytes[..MAGIC.len()] != MAGIC {
        return Err(KeepError::Damaged);
    }
    bytes.advance(MAGIC.len());
    if bytes.get_u64() != Version::of(&bytes).to_wire() {
        return Err(KeepError::Damaged);
    }
    let hello = Hello::decode_length_delimited(&mut bytes).map_err(|_| KeepError::Damaged)?;
    let batch = Batch::decode(bytes).map_err(|_| KeepError::Damaged)?;
    if hello.gateway != gateway {
        return Err(KeepError::OtherGateway(hello.gateway));
    }
    Ok(Kept { resources: batch.set, positions: hello.position })
}

/// Reads it. `None`: there is no file.
pub(crate) fn read(path: &Path, gateway: &str) -> Result<Option<Kept>, KeepError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(KeepError::TooLarge(bytes.len()));
    }
    from_bytes(gateway, bytes.into()).map(Some)
}

/// Writes it. What was there before stays until all of it is written, and if it cannot be.
pub(crate) fn write(
    path: &Path,
    gateway: &str,
    config: &Config,
    positions: &[Position],
) -> Result<(), KeepError> {
    let bytes = to_bytes(gateway, config, positions)?;
    let new = beside(path);
    // One that was left by a process that was killed may have other permissions.
    let _none_there = fs::remove_file(&new);
    let written = write_new(&new, &bytes).and_then(|()| fs::rename(&new, path));
    written.inspect_err(|_| drop(fs::remove_file(&new))).map_err(KeepError::from)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use ringway_config::{Delta, EndpointSet, EndpointSetKey, EndpointSource, Resource};

    use super::*;

    fn config() -> Config {
        let source = EndpointSource::Dns { host: "a.b".into(), port: 80 };
        let set = EndpointSet { key: EndpointSetKey::new("e"), source };
        let mut config = Config::default();
        config.apply(Delta { set: vec![Resource::EndpointSet(Arc::new(set))], removed: vec![] });
        config
    }

    #[test]
    fn what_is_written_is_read_back_and_nobody_else_can_read_it() {
        let folder = std::env::temp_dir().join(format!("ringway-keep-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("last-good");
        assert_eq!(read(&path, "a/b").unwrap(), None);
        let positions = vec![Position { kind: "Gateway".into(), resource_version: "7".into() }];
        for _again in 0..2 {
            write(&path, "a/b", &config(), &positions).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
        let kept = read(&path, "a/b").unwrap().unwrap();
        assert_eq!(kept.positions, positions);
        assert_eq!(kept.resources, config().resources().map(|it| encode(&it)).collect::<Vec<_>>());
        assert!(matches!(read(&path, "a/c"), Err(KeepError::OtherGateway(_))));
        fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(write(&path, "a/b", &config(), &positions), Err(KeepError::Io(_))));
    }

    #[test]
    fn a_file_with_any_bit_changed_or_any_end_missing_is_none() {
        let bytes = to_bytes("a/b", &config(), &[]).unwrap();
        assert!(from_bytes("a/b", bytes.clone().into()).is_ok());
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            assert!(matches!(from_bytes("a/b", broken.into()), Err(KeepError::Damaged)), "{at}");
            assert!(from_bytes("a/b", Bytes::copy_from_slice(&bytes[..at])).is_err(), "{at}");
        }
    }
}
