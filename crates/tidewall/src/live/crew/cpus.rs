//! Which CPUs workers are bound to: those that are wished for, of those that the service may use.

use crate::config::Pinning;

/// The CPUs that workers are bound to in turn, none for no binding, and what an operator should
/// know of it. `ours` are those that the service may use.
pub(super) fn choose(wanted: &Pinning, ours: Vec<usize>) -> (Vec<usize>, Option<String>) {
    let list = match wanted {
        Pinning::Off => return (Vec::new(), None),
        Pinning::All => return (ours, None),
        Pinning::These(list) => list,
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
        let ours = || vec![2, 3, 5];
        let these = |list: &[usize]| choose(&Pinning::These(list.to_vec()), ours());
        assert_eq!(choose(&Pinning::Off, ours()), (vec![], None));
        assert_eq!(choose(&Pinning::All, ours()), (ours(), None));
        assert_eq!(these(&[5, 2]), (vec![5, 2], None), "in the order of the list");
        let (chosen, warning) = these(&[3, 0, 9]);
        assert_eq!(chosen, [3]);
        let warning = warning.unwrap();
        assert!(warning.contains("0, 9; left out (it may use 2, 3, 5)"), "{warning}");
        let (chosen, warning) = these(&[0]);
        assert!(chosen.is_empty() && warning.unwrap().contains("no worker is bound"));
    }
}
