//! Memory that is freed leaves the process. The only test in its file, because it looks at the
//! memory of the whole process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(target_env = "gnu")]

use std::hint::black_box;

use tidewall_capture::memory::return_large_allocations;

#[test]
fn a_large_allocation_goes_back_whatever_was_freed_before() {
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap();
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * page
    };
    return_large_allocations();
    let before = resident();
    for _ in 0..3 {
        // A neighbour behind it that stays keeps a heap from shrinking.
        let large = black_box(vec![1u8; 24 << 20]);
        let neighbour = black_box(vec![1u8; 1000]);
        assert!(resident() >= before + (20 << 20));
        drop(large);
        assert!(resident() < before + (8 << 20), "{} bytes are kept", resident() - before);
        drop(neighbour);
    }
}
