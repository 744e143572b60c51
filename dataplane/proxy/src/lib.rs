//! The I/O of the proxy: sockets, TLS, HTTP codecs, the life of a connection.
