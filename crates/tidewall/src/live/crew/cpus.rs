//! Which CPUs workers are bound to: those that are wished for, of those that the service may use.

use std::io;

use crate::config::Pinning;

/// The CPUs that workers are bound to in turn, none for no binding, and what an operator should
/// know of it. `ours` are those that the service may use, as far as the system says.
pub(super) fn choose(
    wanted: &Pinning,
    ours: io::Result<Vec<usize>>,
) -> (Vec<usize>, Option<String>) {
    let (list, ours) = match (wanted, ours) {
        (Pinning::Off, _) => return (Vec::new(), None),
        (_, Err(reason)) => {
            let warning = format!(
                "no worker is bound to a CPU: the system does not say which ones this service may \
                 use: {reason}"
            );
            return (Vec::new(), Some(warning));
        }
        (Pinning::All, Ok(ours)) => return (ours, None),
        (Pinning::These(list), Ok(ours)) => (list, ours),
    };
    let (chosen, others): (Vec<usize>, Vec<usize>) =
        list.iter().partition(|cpu| ours.contains(cpu));
    let warning = (!others.is_empty()).then(|| {
        let what = if chosen.is_empty() { "no worker is bound to a CPU" } else { "left out" };
        format!(
            "`pin_workers` has CPUs that this service may not use: {}; {what} (it may use {})",
            show(&others),
            show(&ours),
        )
    });
    (chosen, warning)
}

/// A list in words: the first dozen.
fn show(cpus: &[usize]) -> String {
    let shown: Vec<_> = cpus.iter().take(12).map(ToString::to_string).collect();
    let more = if cpus.len() > shown.len() { " and more" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_service_may_use_is_chosen() {
        let ours = || Ok(vec![2, 3, 5]);
        let these = |list: &[usize]| choose(&Pinning::These(list.to_vec()), ours());
        assert_eq!(choose(&Pinning::Off, ours()), (vec![], None));
        assert_eq!(choose(&Pinning::All, ours()), (vec![2, 3, 5], None));
        assert_eq!(these(&[5, 2]), (vec![5, 2], None), "in the order of the list");
        let (chosen, warning) = these(&[3, 0, 9]);
        assert_eq!(chosen, [3]);
        let warning = warning.unwrap();
        assert!(warning.contains("0, 9; left out (it may use 2, 3, 5)"), "{warning}");
        let (chosen, warning) = these(&[0]);
        assert!(chosen.is_empty() && warning.unwrap().contains("no worker is bound"));
    }

    #[test]
    fn when_the_system_does_not_say_nobody_is_bound() {
        let unknown = || Err(io::Error::from_raw_os_error(22));
        for wanted in [Pinning::All, Pinning::These(vec![0])] {
            let (chosen, warning) = choose(&wanted, unknown());
            assert!(chosen.is_empty(), "{wanted:?}");
            let warning = warning.unwrap();
            assert!(warning.contains("no worker is bound") && warning.contains("Invalid argument"));
        }
        assert_eq!(choose(&Pinning::Off, unknown()), (vec![], None));
    }
}
