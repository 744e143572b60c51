//! The deterministic simulator: the production proxy under virtual time and drawn faults.
