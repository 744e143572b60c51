//! Ports that nobody else uses: below the range from which the kernel takes ports for outgoing connections, each held
//! by a locked file for as long as it is needed, so that suites in several processes do not collide.

use std::fs::{File, OpenOptions};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 21_000;
const LAST: u16 = 31_999;

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Finds a port on which nobody listens, and keeps it from other suites.
///
/// # Panics
///
/// When all are taken.
pub fn free_port() -> Port {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let range = LAST - FIRST;
    // Processes start at different places, so that they seldom try the same one.
    let offset = (std::process::id() as u16).wrapping_mul(97) % range;
    let folder = lock_folder();
    for _ in 0..range {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = FIRST + (offset.wrapping_add(step) % range);
        let path = folder.join(number.to_string());
        let Ok(lock) = OpenOptions::new().create(true).truncate(false).write(true).open(path) else {
            continue;
        };
        if lock.try_lock().is_err() {
            continue;
        }
        let unused = TcpListener::bind(("::", number)).is_ok() && UdpSocket::bind(("::", number)).is_ok();
        if unused {
            return Port { number, _lock: lock };
        }
    }
    panic!("no free port between {FIRST} and {LAST}");
}

fn lock_folder() -> PathBuf {
    let folder = std::env::temp_dir().join("ringway-e2e-ports");
    std::fs::create_dir_all(&folder).expect("a temporary folder can be made");
    folder
}
