//! One attack alone, and the same one amid five hundred others that are answered with scripts, files,
//! blackholes and a webhook that nobody receives: how soon it is named, and what the storm costs.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::latency::{SCALE, TARGET, attack, began};
use super::receiver::{Answer, Kind, NETWORKS, Receiver, THRESHOLD, end, now};
use super::{Bench, Medium};
use crate::command::{command, run as run_command};

/// Other hosts that are attacked.
pub(super) const HOSTS: u32 = 500;
/// How many times the threshold, all of them.
pub(super) const TIMES: u32 = 4;
/// Where they are: the attack that is looked at is elsewhere.
const NETWORK: &str = "10.16.0.0/22";
/// Part of the generator's traffic that comes in, and counts.
const INCOMING: f64 = 0.6;
/// The storm is told to begin so long before the attack that is looked at.
const LEAD: f64 = 0.5;
/// Nobody waits longer for the last script.
const PATIENCE: Duration = Duration::from_mins(2);

/// What was measured. Times are in seconds and in order.
pub(super) struct Storm {
    pub(super) alone: Vec<f64>,
    pub(super) amid: Vec<f64>,
    pub(super) runs: u32,
    /// From the order to begin until the last ban was with the script.
    pub(super) last_script: Vec<f64>,
    /// Bans that the script was told, at least; it should be one for each host.
    pub(super) told: usize,
    /// Scripts that ran at once, at most.
    pub(super) scripts: usize,
    /// Bytes in memory before the storm, and at most.
    pub(super) memory: (u64, u64),
}

/// Measures both in turns.
pub(super) fn measure(bench: &Bench) -> Result<Storm> {
    let mut storm = Storm {
        alone: Vec::new(),
        amid: Vec::new(),
        runs: bench.options.runs,
        last_script: Vec::new(),
        told: usize::MAX,
        scripts: 0,
        memory: (0, 0),
    };
    for run in 0..bench.options.runs {
        storm.one(bench, run, false)?;
        storm.one(bench, run, true)?;
    }
    for list in [&mut storm.alone, &mut storm.amid, &mut storm.last_script] {
        list.sort_by(f64::total_cmp);
    }
    let Storm { alone, amid, last_script, told, scripts, memory, .. } = &storm;
    eprintln!("storm: {alone:?} alone, {amid:?} amid; {told} told, the last after {last_script:?}");
    eprintln!("storm: {scripts} scripts at once, memory {memory:?}");
    Ok(storm)
}

impl Storm {
    fn one(&mut self, bench: &Bench, run: u32, amid: bool) -> Result<()> {
        let folder = &bench.lab.folder;
        let _reader = prepare(folder)?;
        let medium = Medium::Netflow9;
        let receiver = Receiver::start(bench, Kind::Tidewall, medium, &NETWORKS, Answer::Storm)?;
        let before = receiver.resident()?;
        let after = 2.0 + 0.37 * f64::from(run % 7);
        let rate = (TIMES * THRESHOLD / SCALE).to_string();
        let generator = attack(bench, medium, &rate, &after.to_string())?;
        sleep(Duration::from_secs_f64(after - LEAD));
        let began_storm = now();
        let others = amid.then(|| others(bench)).transpose()?;
        let named = receiver.named(TARGET, Duration::from_secs(20))?;
        let times = if amid { &mut self.amid } else { &mut self.alone };
        if let Some(others) = others {
            let calls = wait_for_scripts(folder);
            self.memory = (self.memory.0.max(before), self.memory.1.max(receiver.peak()?));
            self.told = self.told.min(calls.bans);
            self.scripts = self.scripts.max(calls.at_once);
            self.last_script.push(calls.last - began_storm);
            end(others)?;
        }
        let began = began(generator)?;
        times.extend(named.zip(began).map(|(named, began)| named - began));
        Ok(())
    }
}

/// The tables that answer a storm; what the hosts send is no attack. The webhook's port is tcpmux's, where nobody listens: that is
/// the worst that a receiver can do to a queue.
pub(super) fn answers(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut text = String::new();
    _ = write!(
        text,
        "[thresholds.outgoing]\ntotal = {{ pps = 100_000_000 }}\n\
         [[script]]\nname = \"storm\"\npath = \"{}\"\n[[record]]\nfolder = \"{}\"\n\
         [[webhook]]\nurl = \"http://127.0.0.1:1/\"\n\
         [mitigation]\nmode = \"automatic\"\nladder = [\"notify\", \"blackhole\"]\n\
         most_routes = 1000\n[rails]\nmost_routes = 1000\nchanges_per_minute = 10_000\n\
         largest_share = \"100%\"\ngrace_after_start = \"0s\"\n\
         [exabgp]\npipe = \"{}\"\nnext_hop_ipv4 = \"192.0.2.254\"\n",
        path("storm"),
        path("attacks"),
        path("exabgp.cmd"),
    );
    text
}

/// Makes the script and ExaBGP's pipe; gives the pipe's reader.
fn prepare(folder: &Path) -> Result<Reader> {
    let calls = calls(folder);
    for file in [&calls, &folder.join("exabgp.cmd")] {
        _ = fs::remove_file(file);
    }
    _ = fs::remove_dir_all(folder.join("attacks"));
    let script = folder.join("storm");
    let calls = calls.display();
    let text = format!(
        "#!/bin/sh\necho \"+ $(date +%s.%N) $4\" >> {calls}\ncat > /dev/null\necho - >> {calls}\n"
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let pipe = folder.join("exabgp.cmd");
    run_command(command(&["mkfifo"]).arg(&pipe))?;
    let mut reader = Command::new("sh");
    reader.args(["-c", "exec cat <> \"$1\"", "sh"]).arg(&pipe).stdout(Stdio::null());
    Ok(Reader(reader.spawn()?))
}

struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Starts to attack all the others.
fn others(bench: &Bench) -> Result<Child> {
    let packets = f64::from(HOSTS * TIMES * THRESHOLD) / INCOMING;
    let (rate, hosts) = ((packets / f64::from(SCALE)).to_string(), HOSTS.to_string());
    let mut words = vec!["--seconds", "10", "--rate", &rate, "--hosts", &hosts];
    words.extend(["--network", NETWORK, "--packets", "1000"]);
    ensure!(SCALE == 1000, "a record stands for as many packets as those of the other attack");
    Ok(bench.generator(Medium::Netflow5, &words).stdout(Stdio::piped()).spawn()?)
}

fn calls(folder: &Path) -> PathBuf {
    folder.join("calls")
}

/// What the scripts have written.
#[derive(Debug, Default, PartialEq)]
struct Calls {
    bans: usize,
    at_once: usize,
    /// When the last ban was told; 0 without any.
    last: f64,
}

impl Calls {
    fn read(text: &str) -> Self {
        let (mut calls, mut running) = (Self::default(), 0_usize);
        for line in text.lines() {
            let Some(call) = line.strip_prefix("+ ") else {
                running = running.saturating_sub(1);
                continue;
            };
            running += 1;
            calls.at_once = calls.at_once.max(running);
            if let Some((time, "ban")) = call.split_once(' ') {
                calls.bans += 1;
                calls.last = calls.last.max(time.parse().unwrap_or_default());
            }
        }
        calls
    }
}

/// Waits until every ban was told, or for long.
fn wait_for_scripts(folder: &Path) -> Calls {
    let begin = Instant::now();
    loop {
        let calls = Calls::read(&fs::read_to_string(calls(folder)).unwrap_or_default());
        if calls.bans > HOSTS as usize || begin.elapsed() > PATIENCE {
            return calls;
        }
        sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_with_those_at_once() {
        let text = "+ 10.5 ban\n+ 12.25 ban\n-\n+ 11.0 ban\n-\n+ 30.0 unban\n-\n-\n";
        assert_eq!(Calls::read(text), Calls { bans: 3, at_once: 2, last: 12.25 });
        assert_eq!(Calls::read(""), Calls::default());
    }

    #[test]
    fn a_storm_is_answered_with_everything() {
        let text = answers(Path::new("/tmp/x"));
        for word in ["[[script]]", "[[record]]", "[[webhook]]", "[exabgp]", "blackhole"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
