//! The section of BENCH.md: each table with ratios to the bare loop and to the peer.

use std::fmt::Write as _;

use anyhow::Result;

use super::answer::{Answered, TIMES as ANSWERED_TIMES};
use super::latency::{Latency, MEDIA, TIMES};
use super::peers::{CLIENTS, Given, MITIGATIONS, ROUTERS};
use super::receiver::{Kind, NETWORKS};
use super::storm::{self, Storm};
use super::{Bench, Ceiling, Cost, Medium, Memory};
use crate::bench::report::Machine;

/// Its heading.
pub(super) const TITLE: &str = "## Live";

const KINDS: [Kind; 4] = [Kind::Count, Kind::Tidewall, Kind::Tracking, Kind::NoTracking];

/// What was measured, and how.
pub(super) fn head(bench: &Bench) -> Result<String> {
    let options = &bench.options;
    let mut text = format!(
        "{TITLE}\n\nMeasured by `cargo xtask bench --live` on {}, {} s a measurement, {} runs in \
         turns, medians.\n",
        Machine::read()?.in_words(),
        options.seconds,
        options.runs,
    );
    let peer = match &bench.peer {
        Some(version) => format!(
            "FastNetMon is Debian's package {version} with its sample configuration, connection \
             tracking on (\"no tracking\": off); it has no AF_XDP program."
        ),
        None => "The package `fastnetmon` is not installed here, so it is not compared: \
                 apt-get install --no-install-recommends fastnetmon."
            .to_owned(),
    };
    let _ = write!(
        text,
        "Networks {}; 1,000 hosts of ours, 10,000 others, every flow new for half a second. One \
         datagram has 7 sFlow samples with headers of 128 bytes, 30 NetFlow v5, 24 v9 or 18 IPFIX \
         records; frames have 64 bytes. Datagrams go over loopback, frames over a veth pair. \
         {peer}\nThe bare loop receives by the same code as tidewall, and only counts. The \
         generator shares the machine with the receiver and pays for much of the kernel's work: \
         ratios carry over to other machines, rates do not.\n\n",
        NETWORKS.join(" and ")
    );
    Ok(text)
}

/// CPU seconds per million records.
pub(super) fn costs(costs: &[(Medium, Kind, Cost)], rate: u32) -> String {
    let mut text = format!(
        "### CPU seconds per million records at {rate} records/s\n\n\
         User and system time of the whole process; of mirrors the user side, and the system's \
         in brackets, because the sender pays for it.\n\n\
         | | sent/s | bare loop | tidewall | loss | to the loop | FastNetMon | loss | to tidewall \
         | no tracking | loss | to tidewall |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for medium in Medium::ALL {
        let of = |kind| {
            let found = costs.iter().find(|(m, k, _)| *m == medium && *k == kind);
            found.map(|(_, _, cost)| *cost)
        };
        let Some(ours) = of(Kind::Tidewall) else { continue };
        let cpu = |cost: Option<Cost>| match cost {
            Some(cost) if medium.is_mirror() => format!("{:.3} ({:.3})", cost.cpu, cost.system),
            Some(cost) => format!("{:.3}", cost.cpu),
            None => "–".to_owned(),
        };
        let loss = |cost: Option<Cost>| {
            cost.map_or_else(|| "–".to_owned(), |cost| format!("{:.2} %", cost.loss * 100.0))
        };
        let bare = of(Kind::Count);
        let _ = write!(
            text,
            "| {} | {:.0} | {} | {} | {} | {} |",
            medium.name(),
            ours.rate,
            cpu(bare),
            cpu(Some(ours)),
            loss(Some(ours)),
            ratio(Some(ours.cpu), bare.map(|cost| cost.cpu)),
        );
        for kind in [Kind::Tracking, Kind::NoTracking] {
            let cost = of(kind);
            let times = ratio(cost.map(|cost| cost.cpu), Some(ours.cpu));
            let _ = write!(text, " {} | {} | {times} |", cpu(cost), loss(cost));
        }
        text.push('\n');
    }
    text + "\n"
}

/// Highest rates without loss.
pub(super) fn ceilings(ceilings: &[(Medium, Kind, Ceiling)]) -> String {
    let mut text = String::from(
        "### Highest rate without loss, thousands of records/s\n\n\
         The steps are 400, 800, 1600, 2400, 3200, and as fast as the generator can (\"gen\": it \
         was the limit). Less than one in 10,000 missing counts as no loss; – : none of the steps.\n\n\
         | | bare loop | tidewall | FastNetMon | no tracking |\n|---|--:|--:|--:|--:|\n",
    );
    for medium in Medium::ALL {
        let _ = write!(text, "| {} |", medium.name());
        for kind in KINDS {
            let found = ceilings.iter().find(|(m, k, _)| *m == medium && *k == kind);
            let _ = match found {
                Some((_, _, c)) if c.by_generator => write!(text, " {:.0} gen |", c.rate / 1e3),
                Some((_, _, c)) => write!(text, " {:.0} |", c.rate / 1e3),
                None => write!(text, " – |"),
            };
        }
        text.push('\n');
    }
    text + "\n"
}

/// Resident memory.
pub(super) fn memory(list: &[Memory]) -> String {
    let mut text = String::from(
        "### Resident memory with a /12 as network, MB\n\n\
         Before any traffic, and after four seconds of NetFlow v5 at a million records/s; before them \
         the part of a core that is used while nothing comes, and what is lost at the usual rate.\n\n\
         | | active hosts | before | after | bytes a host more | idle | loss |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    for m in list {
        let more = m.after.saturating_sub(m.before) as f64 / f64::from(m.hosts);
        let (before, after) = (m.before as f64 / 1e6, m.after as f64 / 1e6);
        let name = m.kind.name();
        let (idle, loss) = (m.idle * 100.0, m.loss * 100.0);
        let _ = writeln!(
            text,
            "| {name} | {} | {before:.0} | {after:.0} | {more:.0} | {idle:.1} % | {loss:.2} % |",
            m.hosts
        );
    }
    text + "\n"
}

/// Times to detection.
pub(super) fn latencies(list: &[Latency]) -> String {
    let mut text = String::from(
        "### From the first attack packet to the event, seconds\n\n\
         Least / median / most. The limit is 20,000 packets/s; sFlow is sampled 1 in 1000, a \
         NetFlow v9 record has 1,000 packets. tidewall: the event on the control socket; \
         FastNetMon: the start of its notify script. Nobody waits longer than 20 seconds.\n\n\
         | | attack | tidewall | FastNetMon | ratio of medians |\n|---|--:|--:|--:|--:|\n",
    );
    for medium in MEDIA {
        for times in TIMES {
            let of =
                |kind| list.iter().find(|l| (l.medium, l.times, l.kind) == (medium, times, kind));
            let (ours, peer) = (of(Kind::Tidewall), of(Kind::Tracking));
            let median =
                |l: Option<&Latency>| l.and_then(|l| l.seconds.get(l.seconds.len() / 2).copied());
            let _ = writeln!(
                text,
                "| {} | {}x | {} | {} | {} |",
                medium.name(),
                f64::from(times) / 100.0,
                spread(ours),
                spread(peer),
                ratio(median(peer), median(ours)),
            );
        }
    }
    text + "\n"
}

/// Times to the notify script.
pub(super) fn scripts(list: &[Answered]) -> String {
    let about = format!(
        "### From the first attack packet to the notify script, seconds\n\n\
         Least / median / most, at {ANSWERED_TIMES} times the limit. Both call the same script, which \
         first writes the time; tidewall writes its journal to the disk before.\n\n"
    );
    about + &answers(list)
}

/// Times to the route; none without a router.
pub(super) fn routes(list: Option<&[Answered]>) -> String {
    let mut text = String::from(
        "### From the first attack packet to the route in a router's table, seconds\n\n",
    );
    let Some(list) = list else {
        return text + "`gobgpd` is not installed here: apt-get install gobgpd.\n\n";
    };
    let _ = write!(
        text,
        "Least / median / most, at {ANSWERED_TIMES} times the limit, until `gobgp monitor global rib` \
         shows the attacked address. tidewall: its own BGP session with gobgpd, journal on; \
         FastNetMon: its calls to gobgpd's API on the same machine. Both call their script, too.\n\n"
    );
    text + &answers(list)
}

/// One attack amid many others.
pub(super) fn storm(storm: &Storm) -> String {
    let Storm { alone, amid, runs, last_script, told, scripts, memory } = storm;
    let (last, megabyte) = (last_script.last().copied().unwrap_or_default(), 1024.0 * 1024.0);
    let median = |list: &[f64]| list.get(list.len() / 2).copied();
    format!(
        "### One attack amid {} others\n\n\
         From the first packet of an attack to its event, in seconds, least / median / most: alone, and \
         while {} other hosts are attacked from half a second before, all at {} times the limit, and \
         each is answered with a script, files, a blackhole and a webhook that nobody receives.\n\n\
         | alone | amid | ratio of medians |\n|--:|--:|--:|\n| {} | {} | {} |\n\n\
         {told} bans were told to the script, the last {last:.1} s after the storm; at most {scripts} \
         scripts ran at once. Memory: {:.0} MB before, {:.0} MB at most.\n\n",
        storm::HOSTS,
        storm::HOSTS,
        storm::TIMES,
        spread_of(alone, *runs),
        spread_of(amid, *runs),
        ratio(median(amid), median(alone)),
        memory.0 as f64 / megabyte,
        memory.1 as f64 / megabyte,
    )
}

/// A thousand mitigations; none without routers.
pub(super) fn peers(list: Option<&[Given]>) -> String {
    let mut text = format!("### {MITIGATIONS} mitigations to {ROUTERS} routers\n\n");
    let Some(list) = list else {
        return text + "`gobgpd` is not installed here: apt-get install gobgpd.\n\n";
    };
    let _ = write!(
        text,
        "Blackholes asked for by {CLIENTS} clients of the control socket, each one by \
             one; "
    );
    text += "all are written to the journal on the disk before they are announced by tidewall's own BGP \
             sessions. Seconds from the first request to the \
             last answer, and until `gobgp monitor global rib` of each router has shown all routes \
             (first and last router); resident memory of tidewall before and after, MB. With one peer \
             more, which takes the session and then never reads (its socket holds 4 KB).\n\n\
             | | answered | first router | last router | before | after |\n\
             |---|--:|--:|--:|--:|--:|\n";
    for one in list {
        let name = if one.mute { "and one that never reads" } else { "all read" };
        let (before, after) = (one.before as f64 / 1e6, one.after as f64 / 1e6);
        let _ = writeln!(
            text,
            "| {name} | {:.2} | {:.2} | {:.2} | {before:.0} | {after:.0} |",
            one.answered, one.first, one.last,
        );
    }
    text + "\n"
}

fn answers(list: &[Answered]) -> String {
    let mut text =
        String::from("| | tidewall | FastNetMon | ratio of medians |\n|---|--:|--:|--:|\n");
    for medium in MEDIA {
        let of = |kind| list.iter().find(|a| (a.medium, a.kind) == (medium, kind));
        let (ours, peer) = (of(Kind::Tidewall), of(Kind::Tracking));
        let shown =
            |a: Option<&Answered>| a.map_or("–".to_owned(), |a| spread_of(&a.seconds, a.runs));
        let median =
            |a: Option<&Answered>| a.and_then(|a| a.seconds.get(a.seconds.len() / 2).copied());
        let times = ratio(median(peer), median(ours));
        let _ =
            writeln!(text, "| {} | {} | {} | {times} |", medium.name(), shown(ours), shown(peer));
    }
    text + "\n"
}

fn spread(latency: Option<&Latency>) -> String {
    latency.map_or("–".to_owned(), |latency| spread_of(&latency.seconds, latency.runs))
}

fn spread_of(seconds: &[f64], runs: u32) -> String {
    let (Some(least), Some(most)) = (seconds.first(), seconds.last()) else {
        return "not found".to_owned();
    };
    let missed = runs as usize - seconds.len();
    let missed = if missed > 0 { format!(", {missed} not found") } else { String::new() };
    let median = seconds.get(seconds.len() / 2).unwrap_or(least);
    format!("{least:.2} / {median:.2} / {most:.2}{missed}")
}

/// How many times `b` is `a`.
fn ratio(a: Option<f64>, b: Option<f64>) -> String {
    match (a, b) {
        (Some(a), Some(b)) if b > 0.0 => format!("{:.1}x", a / b),
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_ratios() {
        let cost = |cpu| Cost { rate: 400_000.0, cpu, system: 0.01, loss: 0.0 };
        let list = [
            (Medium::Sflow, Kind::Count, cost(0.1)),
            (Medium::Sflow, Kind::Tidewall, cost(0.2)),
            (Medium::Sflow, Kind::Tracking, cost(1.4)),
        ];
        let text = costs(&list, 400_000);
        let row = "| sFlow | 400000 | 0.100 | 0.200 | 0.00 % | 2.0x | 1.400 | 0.00 % | 7.0x | – | – | – |";
        assert!(text.contains(row), "{text}");
        assert!(!text.contains("IPFIX |"), "what was not measured has no row");
    }

    #[test]
    fn attacks_that_were_not_found_are_told() {
        let latency = |seconds| Latency {
            medium: Medium::Sflow,
            kind: Kind::Tidewall,
            times: 200,
            seconds,
            runs: 3,
        };
        assert_eq!(spread(Some(&latency(vec![0.1, 0.3]))), "0.10 / 0.30 / 0.30, 1 not found");
        assert_eq!(spread(Some(&latency(vec![]))), "not found");
        assert_eq!(spread(None), "–");
    }

    #[test]
    fn a_storm_is_told_in_one_row_and_its_cost() {
        let text = storm(&Storm {
            alone: vec![0.2, 0.25, 0.3],
            amid: vec![0.3, 0.5],
            runs: 3,
            last_script: vec![2.0, 4.25],
            told: 501,
            scripts: 16,
            memory: (20 << 20, 60 << 20),
        });
        assert!(
            text.contains("| 0.20 / 0.25 / 0.30 | 0.30 / 0.50 / 0.50, 1 not found | 2.0x |"),
            "{text}"
        );
        assert!(text.contains("501 bans") && text.contains("the last 4.2 s"), "{text}");
        assert!(text.contains("20 MB before, 60 MB at most"), "{text}");
    }

    #[test]
    fn peers_have_a_row_each_way() {
        let given = |mute| Given {
            mute,
            answered: 1.5,
            first: 1.55,
            last: 1.625,
            before: 12_000_000,
            after: 14_400_000,
        };
        let text = peers(Some(&[given(false), given(true)]));
        assert!(text.contains("| all read | 1.50 | 1.55 | 1.62 | 12 | 14 |\n"), "{text}");
        assert!(text.contains("| and one that never reads | 1.50 |"), "{text}");
        assert!(peers(None).contains("not installed"));
    }

    #[test]
    fn answers_have_a_row_for_each_medium_and_words_without_a_router() {
        let answered = |kind, seconds| Answered { medium: Medium::Sflow, kind, seconds, runs: 3 };
        let list = [
            answered(Kind::Tidewall, vec![0.2, 0.25, 0.4]),
            answered(Kind::Tracking, vec![1.0, 2.0]),
        ];
        let row = "| sFlow | 0.20 / 0.25 / 0.40 | 1.00 / 2.00 / 2.00, 1 not found | 8.0x |\n";
        assert!(scripts(&list).contains(row), "{}", scripts(&list));
        assert!(routes(Some(&list)).contains(row));
        assert!(routes(None).contains("not installed"));
    }
}
