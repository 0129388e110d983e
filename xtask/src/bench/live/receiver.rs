//! The programs that receive: started with a configuration of their own, asked what they have
//! counted, and ended by their process number.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Bench, Medium, lab, router, storm};
use crate::command::{output, works};

/// The package's program.
pub(super) const FASTNETMON: &str = "/usr/sbin/fastnetmon";
/// The networks that everyone watches, unless it is about them.
pub(super) const NETWORKS: [&str; 2] = ["10.0.0.0/16", "10.16.0.0/22"];
/// Packets a second of a host that are an attack.
pub(super) const THRESHOLD: u32 = 20_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The bare receive loop.
    Count,
    Tidewall,
    /// FastNetMon with connection tracking, as its sample configuration has it.
    Tracking,
    /// FastNetMon without.
    NoTracking,
}

impl Kind {
    pub(super) const fn is_peer(self) -> bool {
        matches!(self, Self::Tracking | Self::NoTracking)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Count => "bare loop",
            Self::Tidewall => "tidewall",
            Self::Tracking => "FastNetMon",
            Self::NoTracking => "FastNetMon, no tracking",
        }
    }
}

/// What it does about an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It tells; FastNetMon can only by its script.
    Event,
    /// It calls the script.
    Script,
    /// It calls the script and announces a blackhole to the router.
    Route,
    /// Everything that a storm of attacks is answered with.
    Storm,
}

/// Processor time in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    pub(super) user: f64,
    pub(super) system: f64,
}

impl std::ops::Sub for Cpu {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { user: self.user - other.user, system: self.system - other.system }
    }
}

/// A running one.
pub(super) struct Receiver<'a> {
    bench: &'a Bench,
    kind: Kind,
    child: Child,
    lines: Option<BufReader<std::process::ChildStdout>>,
}

impl<'a> Receiver<'a> {
    /// Starts it and waits until it listens.
    pub(super) fn start(
        bench: &'a Bench,
        kind: Kind,
        medium: Medium,
        networks: &[&str],
        answer: Answer,
    ) -> Result<Self> {
        let folder = &bench.lab.folder;
        _ = fs::remove_file(events_file(folder));
        write_script(folder)?;
        let mut program = match kind {
            Kind::Count => bench.lab.receiver.command(&bench.count),
            Kind::Tidewall => bench.lab.receiver.command(&bench.tidewall),
            Kind::Tracking | Kind::NoTracking => bench.lab.receiver.command(Path::new(FASTNETMON)),
        };
        match kind {
            Kind::Count => match medium {
                Medium::AfPacket => program.args(["af_packet", lab::RECEIVER_LINK]),
                Medium::AfXdp => program.args(["af_xdp", lab::RECEIVER_LINK]),
                _ => program.args(["udp", &format!("0.0.0.0:{}", medium.port())]),
            },
            Kind::Tidewall => {
                let file = folder.join("tidewall.toml");
                fs::write(&file, tidewall_configuration(folder, medium, networks, answer)?)?;
                program.args(["run", "--config"]).arg(file)
            }
            Kind::Tracking | Kind::NoTracking => {
                let file = fastnetmon_configuration(folder, kind, medium, networks, answer)?;
                program.arg("--configuration_file").arg(file);
                program.arg("--log_file").arg(folder.join("fastnetmon.log"));
                program.arg("--disable_pid_logic")
            }
        };
        Self::launch(bench, kind, program)
    }

    /// Starts tidewall with a configuration, to which the control socket is added.
    pub(super) fn tidewall(bench: &'a Bench, configuration: &str) -> Result<Self> {
        let folder = &bench.lab.folder;
        let (file, socket) = (folder.join("tidewall.toml"), folder.join("control.sock"));
        let socket = socket.display();
        fs::write(&file, format!("{configuration}\n[service]\ncontrol = \"{socket}\"\n"))?;
        let mut program = bench.lab.receiver.command(&bench.tidewall);
        program.args(["run", "--config"]).arg(file);
        Self::launch(bench, Kind::Tidewall, program)
    }

    fn launch(bench: &'a Bench, kind: Kind, mut program: Command) -> Result<Self> {
        let log = fs::File::create(bench.lab.folder.join("receiver.log"))?;
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = program.spawn().with_context(|| format!("starting {}", kind.name()))?;
        let lines = child.stdout.take().map(BufReader::new);
        let mut receiver = Self { bench, kind, child, lines };
        receiver.wait_until_ready()?;
        Ok(receiver)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let begin = Instant::now();
        // The package says nothing when its ports are open.
        sleep(Duration::from_millis(if self.kind.is_peer() { 2500 } else { 300 }));
        while self.received().is_err() {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.bench.lab.folder.join("receiver.log"));
                bail!("{} ended with {status}: {}", self.kind.name(), log.unwrap_or_default());
            }
            if begin.elapsed() > PATIENCE {
                bail!("{} does not answer", self.kind.name());
            }
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Records counted; of the bare loop datagrams or frames.
    pub(super) fn received(&mut self) -> Result<u64> {
        match self.kind {
            Kind::Count => {
                let stdin = self.child.stdin.as_mut().context("no standard input")?;
                stdin.write_all(b"\n")?;
                let mut line = String::new();
                self.lines.as_mut().context("no standard output")?.read_line(&mut line)?;
                Ok(line.trim().parse()?)
            }
            Kind::Tidewall => {
                let status = self.data("{\"ask\":\"status\"}")?;
                status["records"]["received"].as_u64().context("no count in the status")
            }
            Kind::Tracking | Kind::NoTracking => {
                let script = "exec 3<>/dev/tcp/127.0.0.1/9209 && \
                              printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3";
                let mut bash = self.bench.lab.receiver.command(Path::new("bash"));
                bash.args(["-c", script]).stderr(Stdio::null());
                counted(&output(&mut bash)?).context("no count in the metrics")
            }
        }
    }

    /// What tidewall answers on its control socket.
    pub(super) fn data(&self, question: &str) -> Result<Value> {
        let mut line = String::new();
        ask(&self.bench.lab.folder, question)?.read_line(&mut line)?;
        let mut answer: Value = serde_json::from_str(&line)?;
        Ok(answer["data"].take())
    }

    /// Number of its process.
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Processor time so far, of all threads.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        cpu_of(&text).context("/proc/PID/stat has another form")
    }

    /// Bytes in memory.
    pub(super) fn resident(&self) -> Result<u64> {
        resident(&self.child)
    }

    /// The most bytes that were ever in memory.
    pub(super) fn peak(&self) -> Result<u64> {
        memory(&self.child, "VmHWM:")
    }

    /// Waits for the first event about an attack; gives its time in seconds since 1970.
    pub(super) fn event(&self, patience: Duration) -> Result<Option<f64>> {
        if self.kind == Kind::Tidewall {
            return self.named("", patience);
        }
        self.script_call(patience)
    }

    /// Waits until tidewall says that an attack on this target has started; gives the time.
    pub(super) fn named(&self, target: &str, patience: Duration) -> Result<Option<f64>> {
        let mut lines = ask(&self.bench.lab.folder, "{\"ask\":\"events\"}")?;
        lines.get_ref().set_read_timeout(Some(patience))?;
        let mut line = String::new();
        loop {
            line.clear();
            match lines.read_line(&mut line) {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) if line.contains("\"started\"") && line.contains(target) => {
                    return Ok(Some(now()));
                }
                Ok(_) => {}
            }
        }
    }

    /// Waits for the first call of the script; gives the time that it wrote itself.
    pub(super) fn script_call(&self, patience: Duration) -> Result<Option<f64>> {
        let folder = &self.bench.lab.folder;
        let begin = Instant::now();
        while begin.elapsed() < patience {
            let text = fs::read_to_string(events_file(folder)).unwrap_or_default();
            if let Some(line) = text.lines().next().filter(|_| text.contains('\n')) {
                return Ok(Some(line.trim().parse()?));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(None)
    }
}

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            works(&["kill", "-TERM", &self.child.id().to_string()]);
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_secs(5) {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    return;
                }
                sleep(Duration::from_millis(20));
            }
            _ = self.child.kill();
        }
        _ = self.child.wait();
    }
}

/// Bytes of a process in memory.
pub(super) fn resident(child: &Child) -> Result<u64> {
    memory(child, "VmRSS:")
}

/// A field of a process's status, in bytes.
fn memory(child: &Child, field: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    Ok(kilobytes.with_context(|| format!("no {field}"))?.trim().parse::<u64>()? * 1024)
}

/// Asks a running tidewall.
pub(super) fn ask(folder: &Path, question: &str) -> Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(folder.join("control.sock"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{question}")?;
    Ok(BufReader::new(stream))
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

fn events_file(folder: &Path) -> PathBuf {
    folder.join("events")
}

/// The script of both: the first thing it does is to write the time.
fn write_script(folder: &Path) -> Result<()> {
    let script = folder.join("notify");
    let line =
        format!("#!/bin/sh\ndate +%s.%N >> {}\ncat > /dev/null\n", events_file(folder).display());
    fs::write(&script, line)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The count of packets in the package's metrics.
fn counted(metrics: &str) -> Option<u64> {
    let line = metrics
        .lines()
        .find(|line| line.starts_with("fastnetmon_total_simple_packets_processed"))?;
    let digits = line.trim_start_matches("fastnetmon_total_simple_packets_processed");
    digits.trim().parse::<f64>().ok().map(|count| count as u64)
}

/// Fields 14 and 15 of `/proc/PID/stat`, in hundredths of a second (proc(5)).
fn cpu_of(stat: &str) -> Option<Cpu> {
    let behind_name = stat.rsplit_once(')')?.1;
    let mut fields = behind_name.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / 100.0);
    Some(Cpu { user: seconds()?, system: seconds()? })
}

fn tidewall_configuration(
    folder: &Path,
    medium: Medium,
    networks: &[&str],
    answer: Answer,
) -> Result<String> {
    let port = |on: bool| if on { format!("[\"0.0.0.0:{}\"]", medium.port()) } else { "[]".into() };
    let sflow = port(medium == Medium::Sflow);
    let netflow = port(medium != Medium::Sflow && !medium.is_mirror());
    let mut text = format!(
        "networks = {networks:?}\n[thresholds.incoming]\ntotal = {{ pps = {THRESHOLD} }}\n\
         [listen]\nsflow = {sflow}\nnetflow = {netflow}\n\
         [service]\ncontrol = \"{}\"\n",
        folder.join("control.sock").display()
    );
    if answer != Answer::Event {
        // The journal is on the way to every answer; it begins empty.
        let state = folder.join("state");
        _ = fs::remove_dir_all(&state);
        fs::create_dir(&state)?;
        _ = writeln!(text, "state = \"{}\"", state.display());
    }
    if matches!(answer, Answer::Script | Answer::Route) {
        let script = folder.join("notify");
        _ = writeln!(text, "[[script]]\npath = \"{}\"", script.display());
    }
    if answer == Answer::Storm {
        text += &storm::answers(folder);
    }
    if answer == Answer::Route {
        text += &router::speaker();
        text += "[mitigation]\nmode = \"automatic\"\nladder = [\"notify\", \"blackhole\"]\n\
                 [rails]\ngrace_after_start = \"0s\"\n";
    }
    if medium.is_mirror() {
        let engine = if medium == Medium::AfXdp { "af_xdp" } else { "af_packet" };
        let link = lab::RECEIVER_LINK;
        _ = writeln!(text, "[[mirror]]\nengine = \"{engine}\"\ninterfaces = [\"{link}\"]");
    }
    Ok(text)
}

/// The package's own sample configuration with what this needs changed.
fn fastnetmon_configuration(
    folder: &Path,
    kind: Kind,
    medium: Medium,
    networks: &[&str],
    answer: Answer,
) -> Result<PathBuf> {
    let list = folder.join("networks_list");
    fs::write(&list, networks.join("\n") + "\n")?;
    let on = |on: bool| if on { "on" } else { "off" }.to_owned();
    let path = |name: &str| folder.join(name).display().to_string();
    let values = [
        ("disable_usage_report", on(true)),
        ("enable_ban", on(true)),
        ("enable_api", on(false)),
        ("enable_connection_tracking", on(kind == Kind::Tracking)),
        ("networks_list_path", path("networks_list")),
        ("white_list_path", path("networks_whitelist")),
        ("notify_script_path", path("notify")),
        ("pid_path", path("fastnetmon.pid")),
        ("cli_stats_file_path", path("fastnetmon.dat")),
        ("cli_stats_ipv6_file_path", path("fastnetmon_ipv6.dat")),
        ("monitor_local_ip_addresses", on(false)),
        ("threshold_pps", THRESHOLD.to_string()),
        ("ban_for_bandwidth", on(false)),
        ("sflow", on(medium == Medium::Sflow)),
        ("netflow", on(medium != Medium::Sflow && !medium.is_mirror())),
        ("mirror_afpacket", on(medium == Medium::AfPacket)),
        ("interfaces", lab::RECEIVER_LINK.to_owned()),
        ("gobgp", on(answer == Answer::Route)),
        ("gobgp_announce_host", on(true)),
        ("gobgp_next_hop", router::NEXT_HOP.to_owned()),
    ];
    let sample = fs::read_to_string("/etc/fastnetmon.conf").unwrap_or_default();
    let mut text = String::new();
    for line in sample.lines() {
        let key = line.split('=').next().unwrap_or_default().trim();
        if !values.iter().any(|(changed, _)| *changed == key) {
            text += line;
            text.push('\n');
        }
    }
    for (key, value) in values {
        _ = writeln!(text, "{key} = {value}");
    }
    fs::write(folder.join("networks_whitelist"), "")?;
    let file = folder.join("fastnetmon.conf");
    fs::write(&file, text)?;
    Ok(file)
}

/// Ends a generator early; it still says what it has sent.
pub(super) fn end(child: Child) -> Result<String> {
    works(&["kill", "-TERM", &child.id().to_string()]);
    let said = child.wait_with_output()?;
    Ok(String::from_utf8(said.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_behind_a_name_with_anything_in_it() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 9 0 0 0 250 75 0 0 20 0 8 0 1 2 3";
        let cpu = cpu_of(stat).unwrap();
        assert!((cpu.user - 2.5).abs() < 1e-9 && (cpu.system - 0.75).abs() < 1e-9, "{cpu:?}");
        assert!(cpu_of("17 (a) S").is_none());
    }

    #[test]
    fn the_count_is_read_from_the_metrics() {
        let metrics = "# HELP Total\nfastnetmon_total_simple_packets_processed 1234567\nother 7\n";
        assert_eq!(counted(metrics), Some(1_234_567));
        assert_eq!(counted("other 7\n"), None);
    }
}
