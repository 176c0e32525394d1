//! How the system's allocator is set up.

/// Blocks from this size on come from the system and go back to it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FROM_SYSTEM: libc::c_int = 128 << 10;

/// Makes memory that is freed free. By default glibc learns, block by block, to keep ever larger ones (up to 32 MB) in its heap,
/// where those of rows of other lengths do not fit, and the process grows beyond what was planned
/// (`docs/memory.md`).
pub fn set_up() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: an integer option of the allocator, set before there are other threads.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, FROM_SYSTEM);
    }
}
