//! `src/generated.rs` is what the contract gives. Committed, so that whoever builds ringway builds no compiler of
//! `.proto` files; `UPDATE_GENERATED=1 cargo test -p ringway-wire --test generated` writes it anew
//! (after a change of `proto/` and before the code that needs it: the test is built with the crate).

use std::fs;
use std::path::Path;

const HEAD: &str = "//! The messages and services of `proto/`, generated from it by `tests/generated.rs`: not to be edited.\n\n";

#[test]
fn the_generated_code_is_that_of_the_contract() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let descriptors = protox::compile(["ringway/v1/stream.proto"], [here.join("proto")]).unwrap();
    tonic_prost_build::configure().bytes(".").out_dir(out).compile_fds(descriptors).unwrap();
    let made = HEAD.to_owned() + &fs::read_to_string(out.join("ringway.v1.rs")).unwrap();
    let committed = here.join("src/generated.rs");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&committed, &made).unwrap();
    }
    let stands = fs::read_to_string(&committed).unwrap();
    assert!(stands == made, "{} is not what proto/ gives: UPDATE_GENERATED=1 writes it", committed.display());
}
