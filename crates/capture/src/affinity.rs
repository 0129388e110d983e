//! Binding a worker's thread to one CPU.

use std::io;

use crate::system;

/// Why a thread stays where the scheduler puts it.
#[derive(Debug, thiserror::Error)]
#[error("the thread cannot be bound to CPU {cpu}: {reason}")]
pub struct PinError {
    /// The CPU that was asked for.
    pub cpu: usize,
    /// The system's answer.
    pub reason: io::Error,
}

/// Binds the calling thread to `cpu` (`sched_setaffinity`).
pub fn pin_current_thread(cpu: usize) -> Result<(), PinError> {
    system::set_affinity(&[cpu]).map_err(|reason| PinError { cpu, reason })
}

/// The CPUs that the calling thread may run on, in order (`sched_getaffinity`). A kernel that is
/// made for more than 1,024 of them does not say.
pub fn online_cpus() -> io::Result<Vec<usize>> {
    system::affinity()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_cpu() {
        std::thread::spawn(|| {
            let last = *online_cpus().unwrap().last().unwrap();
            pin_current_thread(last).unwrap();
            assert_eq!(online_cpus().unwrap(), [last]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused() {
        let error = pin_current_thread(1 << 20).unwrap_err();
        assert!(error.to_string().starts_with("the thread cannot be bound to CPU 1048576"));
    }
}
