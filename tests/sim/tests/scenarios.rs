//! A modest number of seeds of each scenario. `README.md` says how to try more, or to replay one.

use ringway_sim::scenarios;

#[test]
fn http1_under_faults() {
    scenarios::http1::FAULTS.assert();
}

#[test]
fn http1_with_backends_that_close_what_is_kept() {
    scenarios::http1::STALE.assert();
}
