//! What concerns the process's memory and the processor's caches, and cannot be said in safe code.
#![allow(unsafe_code)]

/// Asks the processor to bring the cache line in which a value begins near. A hint, without effect
/// on anything but time.
#[inline]
pub fn prefetch<T>(place: &T) {
    let place = std::ptr::from_ref(place);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction reads nothing and cannot fault, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the instruction reads nothing and cannot fault, whatever the address.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{0}]",
            in(reg) place,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = place;
}

/// Gives every allocation of a megabyte or more memory of its own from now on, which goes back to
/// the system when it is freed. glibc does so with less, but raises that bound with the first large
/// allocation that is freed, and keeps what is freed later.
pub fn return_large_allocations() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it sets a number of the allocator, which takes its own lock for it.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_changes_nothing() {
        let numbers: Vec<u64> = (0..1 << 16).collect();
        numbers.iter().for_each(prefetch);
        prefetch(&());
        assert!(numbers.iter().copied().eq(0..1 << 16));
    }
}
