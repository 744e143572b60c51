//! Scripted clients and backends. They share no code with the proxy, so that they are judges of it.

pub mod http1;
pub mod http2;
pub mod tcp;
pub mod tls;
pub mod wire;
