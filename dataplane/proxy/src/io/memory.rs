//! Gives free memory back to the system, which the allocator would keep for later.

/// Gives back what is free now. It looks through all that is free and waits for whoever allocates meanwhile: call it
/// rarely, and never on a core that carries traffic.
pub fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "the allocator has no other way to be told")]
    // SAFETY: it takes the allocator's own locks and touches only what is free; it may be called from any thread at any
    // time (malloc_trim(3), MT-Safe).
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
