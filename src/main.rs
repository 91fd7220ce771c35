//! The `polysema` program: the library's shell, in a process of its own.

fn main() -> std::process::ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    give_freed_blocks_back();
    polysema::shell::main()
}

/// Has blocks that are freed given back to the system. Without it glibc, once one of some size was freed, keeps those up to
/// that size, of 32 MiB at most, for later ones of the same thread: a sort that spills then holds several times its memory limit.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_freed_blocks_back() {
    /// Chosen: a sort's batches are of megabytes; smaller blocks are many, and a call to the system for each is felt.
    const AT_LEAST: libc::c_int = 256 << 10;
    // SAFETY: it takes two numbers, and no other thread is there yet.
    let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, AT_LEAST) };
    debug_assert_eq!(set, 1, "an allocator that takes the option");
}
