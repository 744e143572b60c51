//! What a proxy can be told to do; every value valid by construction.
