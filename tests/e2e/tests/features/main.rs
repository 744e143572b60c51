//! Gateway API features over real sockets: every file of `features/` is manifests and the traffic that they must give.
//!
//! `{{80}}` in a file is a free port, the same wherever the number is; `fill.rs` says what else stands between braces.
//! A Service without an EndpointSlice gets a backend that answers with what it was asked (`obliging.rs`).
//!
//! The documents of kind `Traffic` at the end are what is asked, each of a gateway of its own:
//!
//! | field | meaning |
//! |---|---|
//! | `features` | what the file proves: `gateway-api/README.md` may call only those `served` |
//! | `arguments` | more of them for the gateway |
//! | `backends` | by Service: `{ certificate: "{{cert a.test}}" }` is a backend with TLS; `{}` one beside the file's slices |
//! | `exchanges` | one after the other; `ask.rs` says what each may hold |
//! | `requests` | how many each Service has had once all is over: exact, so zero means zero |

mod ask;
mod case;
mod fill;
mod obliging;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use case::Case;
use ringway_e2e::{Driver, on_both_drivers};

on_both_drivers!(every_feature_file_gives_its_traffic);

/// Files that are served at once: most of the time goes by in waiting.
const AT_ONCE: usize = 3;

fn every_feature_file_gives_its_traffic(driver: Driver) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("features");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    // `RINGWAY_E2E_FEATURES=time,edge` looks at these alone.
    if let Ok(only) = std::env::var("RINGWAY_E2E_FEATURES") {
        files.retain(|file| only.split(',').any(|name| file.file_stem().unwrap() == name));
    }
    assert!(!files.is_empty());
    files.sort();
    let (files, wrong) = (Mutex::new(files), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(file) = { files.lock().unwrap().pop() } {
                    let name = file.file_name().unwrap().to_string_lossy().into_owned();
                    for case in Case::all(driver, &fs::read_to_string(&file).unwrap()) {
                        let found = case.run().into_iter().map(|what| format!("{name}: {what}"));
                        wrong.lock().unwrap().extend(found);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} exchanges went wrong:\n{}", wrong.len(), wrong.join("\n"));
}
