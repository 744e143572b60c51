//! Watches objects, publishes configuration, reports status.
