//! A modest number of seeds of each scenario. `README.md` says how to try more, or to replay one.

use ringway_sim::scenarios::{change, http1, http2, imbalance, tcp};

#[test]
fn http1_under_faults() {
    http1::FAULTS.assert();
}

#[test]
fn http1_with_backends_that_close_what_is_kept() {
    http1::STALE.assert();
}

#[test]
fn http1_under_timeouts_and_a_retry_policy() {
    http1::POLICY.assert();
}

#[test]
fn endpoints_that_are_removed_while_they_serve() {
    change::ENDPOINTS.assert();
}

#[test]
fn a_drain_at_any_moment() {
    change::DRAIN.assert();
}

#[test]
fn connections_that_all_come_in_on_one_core() {
    imbalance::IMBALANCE.assert();
}

#[test]
fn tcp_with_half_closes() {
    tcp::HALF_CLOSE.assert();
}

#[test]
fn http2_clients_under_faults() {
    http2::FAULTS.assert();
}

#[test]
fn http2_backends_that_refuse_and_go_away() {
    http2::UPSTREAM.assert();
}

#[test]
fn tls_with_both_versions() {
    http2::TLS.assert();
}
