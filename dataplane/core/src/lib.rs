//! Every decision of the proxy, without I/O, clock or randomness.
