//! Two workers beside one. The generator would need a processor of its own, so the kernel's queues
//! are filled while the service is stopped; then it is timed how long the workers take to empty
//! them. Besides, what each worker has to do at a rate that is bearable for one.

use std::fmt::Write as _;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::receiver::{NETWORKS, Receiver, THRESHOLD};
use super::{Bench, Medium, lab};
use crate::command::works;

const MEDIA: [Medium; 5] =
    [Medium::Sflow, Medium::Netflow5, Medium::Netflow9, Medium::Ipfix, Medium::AfPacket];
/// Datagrams that wait when the workers begin.
const WAITING: u64 = 200_000;
/// Exporters: those of v9 and IPFIX are dealt to the workers by their addresses.
const EXPORTERS: &str = "200";
/// Time between two looks at the queues.
const LOOK: Duration = Duration::from_millis(4);
/// It does not take longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was measured with a number of workers.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// Seconds until the queues were empty; a ring of frames cannot be looked at.
    drain: Option<f64>,
    /// Seconds that the busiest worker is at work for a million records of all workers together.
    busiest: f64,
    /// Part of what was sent at that rate.
    loss: f64,
}

/// A medium with one worker and with two.
struct Pair {
    medium: Medium,
    one: Figures,
    two: Figures,
}

/// Measures, and gives the section of BENCH.md.
pub(super) fn table(bench: &Bench) -> Result<String> {
    let mut pairs = Vec::new();
    for medium in MEDIA {
        let mut of: [Vec<Figures>; 2] = Default::default();
        for _ in 0..bench.options.runs {
            for (workers, list) in (1..).zip(&mut of) {
                list.push(measure(bench, medium, workers)?);
            }
        }
        let [one, two] = of.map(|list| median(&list));
        eprintln!("{}: one worker {one:?}, two {two:?}", medium.name());
        pairs.push(Pair { medium, one, two });
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(report(&pairs, bench.options.rate, processors))
}

/// The middle of each figure.
fn median(list: &[Figures]) -> Figures {
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let of = |figure: fn(&Figures) -> f64| middle(list.iter().map(figure).collect());
    Figures {
        drain: middle(list.iter().filter_map(|figures| figures.drain).collect()),
        busiest: of(|figures| figures.busiest).unwrap_or_default(),
        loss: of(|figures| figures.loss).unwrap_or_default(),
    }
}

fn measure(bench: &Bench, medium: Medium, workers: u32) -> Result<Figures> {
    let mut receiver = Receiver::tidewall(bench, &configuration(medium, workers))?;
    let rate = bench.options.rate.to_string();
    let exporters: &[&str] = if medium.is_mirror() { &[] } else { &["--exporters", EXPORTERS] };
    // Memory is touched for the first time.
    bench.generate(medium, &[&["--seconds", "1", "--rate", &rate], exporters].concat())?;
    sleep(Duration::from_millis(1200));
    let (before, worked) = (receiver.received()?, worked(receiver.process())?);
    let seconds = bench.options.seconds.to_string();
    let sent =
        bench.generate(medium, &[&["--seconds", &seconds, "--rate", &rate], exporters].concat())?;
    sleep(Duration::from_millis(1200));
    let came = (receiver.received()? - before) as f64;
    let busiest = self::worked(receiver.process())?
        .iter()
        .zip(&worked)
        .map(|(after, before)| after.saturating_sub(*before).as_secs_f64())
        .fold(0.0, f64::max);
    let figures = Figures {
        drain: None,
        busiest: busiest / (came / 1e6).max(1e-9),
        loss: (1.0 - came / sent.records.max(1) as f64).max(0.0),
    };
    if medium.is_mirror() {
        return Ok(figures);
    }
    Ok(Figures { drain: Some(drain(bench, &mut receiver, medium)?), ..figures })
}

/// Fills the queues while the service is stopped, and times their end.
fn drain(bench: &Bench, receiver: &mut Receiver<'_>, medium: Medium) -> Result<f64> {
    let before = receiver.received()?;
    let process = receiver.process();
    // What piles up in a pause is left out, but not twice within ten seconds.
    signal(process, "-STOP")?;
    sleep(Duration::from_millis(700));
    signal(process, "-CONT")?;
    sleep(Duration::from_millis(500));
    signal(process, "-STOP")?;
    let records = (WAITING * records_of(medium)).to_string();
    let sent = bench.generate(medium, &["--records", &records, "--exporters", EXPORTERS]);
    let (waiting, _) = queues(process)?;
    let begin = Instant::now();
    signal(process, "-CONT")?;
    let sent = sent?;
    if waiting == 0 {
        bail!("nothing waits for {}", medium.name());
    }
    while queues(process)?.0 > 0 {
        if begin.elapsed() > PATIENCE {
            bail!("the queues do not become empty");
        }
        sleep(LOOK);
    }
    let took = begin.elapsed().as_secs_f64();
    sleep(Duration::from_millis(1200));
    let came = receiver.received()? - before;
    let (_, dropped) = queues(process)?;
    if came != sent.records || dropped > 0 {
        bail!("{came} of {} records came, {dropped} datagrams were dropped", sent.records);
    }
    Ok(took)
}

/// Records of a datagram, as the generator makes them.
const fn records_of(medium: Medium) -> u64 {
    match medium {
        Medium::Netflow5 => 30,
        Medium::Netflow9 => 24,
        Medium::Ipfix => 18,
        _ => 7,
    }
}

fn signal(process: u32, signal: &str) -> Result<()> {
    if !works(&["kill", signal, &process.to_string()]) {
        bail!("process {process} cannot be told {signal}");
    }
    Ok(())
}

/// Bytes that wait in the UDP sockets of a process's name space, and datagrams they dropped.
fn queues(process: u32) -> Result<(u64, u64)> {
    queues_of(&fs::read_to_string(format!("/proc/{process}/net/udp"))?)
        .context("/proc/net/udp has another form")
}

/// Columns 5 (`tx_queue:rx_queue`, hexadecimal) and 13 (drops) of `/proc/net/udp`.
fn queues_of(text: &str) -> Option<(u64, u64)> {
    text.lines().skip(1).try_fold((0, 0), |(waiting, dropped), line| {
        let mut columns = line.split_whitespace().skip(4);
        let (_, received) = columns.next()?.split_once(':')?;
        let drops: u64 = columns.nth(7)?.parse().ok()?;
        Some((waiting + u64::from_str_radix(received, 16).ok()?, dropped + drops))
    })
}

/// Time that each worker's thread has been on a processor, in the order of their numbers.
fn worked(process: u32) -> Result<Vec<Duration>> {
    let mut workers = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.path();
        let name = fs::read_to_string(task.join("comm"))?;
        if name.starts_with("worker-") {
            // Its first field is in nanoseconds (proc(5)).
            let text = fs::read_to_string(task.join("schedstat"))?;
            let time = text.split_whitespace().next().context("an empty schedstat")?;
            workers.push((name, Duration::from_nanos(time.parse()?)));
        }
    }
    workers.sort();
    Ok(workers.into_iter().map(|(_, time)| time).collect())
}

fn configuration(medium: Medium, workers: u32) -> String {
    let address = format!("[\"0.0.0.0:{}\"]", medium.port());
    let (sflow, netflow) = match medium {
        Medium::Sflow => (address.as_str(), "[]"),
        medium if medium.is_mirror() => ("[]", "[]"),
        _ => ("[]", address.as_str()),
    };
    let mut text = format!(
        "networks = {NETWORKS:?}\n[thresholds.incoming]\ntotal = {{ pps = {THRESHOLD} }}\n\
         [listen]\nsflow = {sflow}\nnetflow = {netflow}\nworkers = {workers}\n\
         receive_buffer = \"1000M\"\n"
    );
    if medium.is_mirror() {
        let link = lab::RECEIVER_LINK;
        let _ = writeln!(
            text,
            "[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"{link}\"]\nworkers = {workers}\n\
             fanout = \"hash\""
        );
    }
    text
}

fn report(pairs: &[Pair], rate: u32, processors: usize) -> String {
    let mut text = format!(
        "### Two workers beside one\n\n\
         Draining: {WAITING} datagrams of {EXPORTERS} exporters wait in the sockets' buffers when \
         the service, which was stopped, goes on; milliseconds until the buffers are empty. Nobody \
         sends meanwhile, so this is the workers' rate, without what the kernel does when a \
         datagram comes. This machine has {processors} processors, and the detector and who looks \
         at the buffers need a little of them, too. The generator is no match for two workers that \
         share the processors with it, so there is no highest rate without loss of two. A ring of \
         frames does not hold enough to be timed.\n\n\
         The busiest worker: seconds that it is on a processor for a million records of all \
         workers together, at {rate} records/s. Half as much means that two carry twice as much, \
         where each has a processor.\n\n\
         | | draining: one | two | ratio | busiest: one | of two | ratio | loss |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for Pair { medium, one, two } in pairs {
        let drain = |figures: &Figures| {
            figures.drain.map_or_else(|| "–".to_owned(), |seconds| format!("{:.0}", seconds * 1e3))
        };
        let ratio = |one: f64, two: f64| format!("{:.2}x", one / two.max(1e-9));
        let faster = one.drain.zip(two.drain);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.3} | {:.3} | {} | {:.2} % |",
            medium.name(),
            drain(one),
            drain(two),
            faster.map_or_else(|| "–".to_owned(), |(one, two)| ratio(one, two)),
            one.busiest,
            two.busiest,
            ratio(one.busiest, two.busiest),
            one.loss.max(two.loss) * 100.0,
        );
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_summed_over_sockets() {
        let text = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                    uid  timeout inode ref pointer drops\n\
                    10: 00000000:0807 00000000:0000 07 00000000:00000A00 00:00000000 00000000     \
                    0        0 4711 2 0000000000000000 3\n\
                    10: 00000000:0807 00000000:0000 07 00000000:00000100 00:00000000 00000000     \
                    0        0 4712 2 0000000000000000 4\n";
        assert_eq!(queues_of(text), Some((0xb00, 7)));
        assert_eq!(queues_of("head\n10: 00000000:0807 x\n"), None);
    }

    #[test]
    fn a_row_has_both_ratios_and_frames_have_no_draining() {
        let figures = |drain, busiest| Figures { drain, busiest, loss: 0.0 };
        let pairs = [
            Pair {
                medium: Medium::Sflow,
                one: figures(Some(1.2), 0.2),
                two: figures(Some(0.6), 0.1),
            },
            Pair { medium: Medium::AfPacket, one: figures(None, 0.1), two: figures(None, 0.06) },
        ];
        let text = report(&pairs, 400_000, 2);
        assert!(
            text.contains("| sFlow | 1200 | 600 | 2.00x | 0.200 | 0.100 | 2.00x | 0.00 % |"),
            "{text}"
        );
        assert!(
            text.contains("| AF_PACKET | – | – | – | 0.100 | 0.060 | 1.67x | 0.00 % |"),
            "{text}"
        );
    }

    #[test]
    fn the_middle_of_each_figure_counts() {
        let run = |drain, busiest| Figures { drain: Some(drain), busiest, loss: 0.0 };
        let middle = median(&[run(3.0, 0.1), run(1.0, 0.3), run(2.0, 0.2)]);
        assert_eq!((middle.drain, middle.busiest), (Some(2.0), 0.2));
        assert_eq!(median(&[Figures::default()]).drain, None);
    }
}
