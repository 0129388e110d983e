//! A thousand mitigations to four routers at once: requests at the control socket of a running
//! tidewall, until all of Debian's gobgpd beside it have shown all routes; alone, and with one more
//! peer that takes the session and never reads.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Bench;
use super::receiver::{ask, now, resident};
use super::router::{CLIENT, DAEMON, NEXT_HOP, end};
use crate::command::run;

pub(super) const MITIGATIONS: u32 = 1_000;
pub(super) const ROUTERS: u16 = 4;
/// Who ask at the same time.
pub(super) const CLIENTS: usize = 16;
const SPEAKER: &str = "127.0.0.2";
const PATIENCE: Duration = Duration::from_mins(1);
/// What the sockets of the peer that never reads hold: least, usual, most.
const LITTLE: &str = "4096 4096 4096";

/// One way of doing it; of several runs the median by the last router's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    /// With a peer that never reads.
    pub(super) mute: bool,
    /// Seconds from the first request: to the last answer, ...
    pub(super) answered: f64,
    /// ... until the first router had all, and the last.
    pub(super) first: f64,
    pub(super) last: f64,
    /// Bytes in memory.
    pub(super) before: u64,
    pub(super) after: u64,
}

/// Processes that end with the value.
#[derive(Default)]
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        // Those that were started last depend on the others.
        for child in self.0.iter_mut().rev() {
            end(child);
        }
    }
}

/// Measures both ways in turns.
pub(super) fn measure(bench: &Bench) -> Result<Vec<Given>> {
    let mut found = Vec::new();
    let mut of = [Vec::new(), Vec::new()];
    for _ in 0..bench.options.runs {
        for (list, mute) in of.iter_mut().zip([false, true]) {
            let given = one(bench, mute)?;
            eprintln!("{given:?}");
            list.push(given);
        }
    }
    for mut list in of {
        list.sort_by(|a: &Given, b: &Given| a.last.total_cmp(&b.last));
        found.extend(list.get(list.len() / 2));
    }
    Ok(found)
}

fn one(bench: &Bench, mute: bool) -> Result<Given> {
    let folder = &bench.lab.folder;
    let mut processes = Processes::default();
    let mut usual = None;
    for number in 0..ROUTERS {
        processes.0.push(start_router(bench, number)?);
    }
    let file = folder.join("tidewall.toml");
    fs::write(&file, configuration(folder, mute)?)?;
    let mut program = bench.lab.receiver.command(&bench.tidewall);
    program.args(["run", "--config"]).arg(file);
    program.stdin(Stdio::null()).stdout(Stdio::null());
    program.stderr(fs::File::create(folder.join("receiver.log"))?);
    let service = program.spawn().context("starting tidewall")?;
    let service_at = processes.0.len();
    processes.0.push(service);
    wait_for_sessions(folder, ROUTERS.into())?;
    if mute {
        // Sockets that are there keep what they have; this one would get more as it goes on.
        usual = Some(buffers(bench, &[LITTLE.to_owned(), LITTLE.to_owned()])?);
        processes.0.push(start_mute(bench)?);
        wait_for_sessions(folder, usize::from(ROUTERS) + 1)?;
    }
    let mut watched = Vec::new();
    for number in 0..ROUTERS {
        let (client, seen) = watch(bench, number)?;
        processes.0.push(client);
        watched.push(seen);
    }
    // The clients say nothing when they are ready.
    sleep(Duration::from_secs(1));
    let service = processes.0.get(service_at).context("no service")?;
    let before = resident(service)?;
    let began = now();
    std::thread::scope(|scope| {
        let ask =
            |first| move || (first..MITIGATIONS).step_by(CLIENTS).try_for_each(|n| ban(folder, n));
        let clients: Vec<_> = (0..CLIENTS as u32).map(|first| scope.spawn(ask(first))).collect();
        clients
            .into_iter()
            .try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a client has panicked"))?)
    })?;
    let answered = now() - began;
    let mut times = Vec::new();
    for seen in &watched {
        let time = seen.recv_timeout(PATIENCE).context("a router does not have all routes")?;
        times.push(time - began);
    }
    times.sort_by(f64::total_cmp);
    let (first, last) = times.first().zip(times.last()).context("no router")?;
    let after = resident(service)?;
    if let Some(usual) = usual {
        if !is_blocked(folder)? {
            bail!("the peer that never reads was sent everything all the same");
        }
        buffers(bench, &usual)?;
    }
    Ok(Given { mute, answered, first: *first, last: *last, before, after })
}

fn address(number: u16) -> String {
    format!("127.0.0.{}", 11 + number)
}

fn api(number: u16) -> String {
    (50_061 + number).to_string()
}

fn start_router(bench: &Bench, number: u16) -> Result<Child> {
    let (folder, own) = (&bench.lab.folder, address(number));
    let file = folder.join(format!("gobgpd{number}.conf"));
    let configuration = format!(
        "[global.config]\nas = {}\nrouter-id = \"{own}\"\nlocal-address-list = [\"{own}\"]\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"{SPEAKER}\"\npeer-as = 65010\n\
         [neighbors.transport.config]\npassive-mode = true\n",
        65_011 + u32::from(number)
    );
    fs::write(&file, configuration)?;
    let mut program = bench.lab.receiver.command(Path::new(DAEMON));
    program.arg("-f").arg(file).args(["--api-hosts", &format!("127.0.0.1:{}", api(number))]);
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    program.spawn().context("starting gobgpd")
}

/// Answers OPEN, and never reads: bash, which can connect but not listen.
fn start_mute(bench: &Bench) -> Result<Child> {
    let marker = r"\xff".repeat(16);
    // AS 65001, hold time 0, router id 127.0.0.1; KEEPALIVE.
    let open = format!(r"{marker}\x00\x1d\x01\x04\xfd\xe9\x00\x00\x7f\x00\x00\x01\x00");
    let keepalive = format!(r"{marker}\x00\x13\x04");
    let script =
        format!("exec 3<>/dev/tcp/{SPEAKER}/179; printf '{open}{keepalive}' >&3; exec sleep 600");
    let mut bash = bench.lab.receiver.command(Path::new("/bin/bash"));
    bash.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null());
    bash.spawn().context("starting bash")
}

/// Sets what sockets of the name space hold, reading and writing; what that was before.
fn buffers(bench: &Bench, values: &[String; 2]) -> Result<[String; 2]> {
    let mut before = [String::new(), String::new()];
    for ((name, value), old) in ["tcp_rmem", "tcp_wmem"].iter().zip(values).zip(&mut before) {
        let file = format!("/proc/sys/net/ipv4/{name}");
        let mut read = bench.lab.receiver.command(Path::new("/bin/cat"));
        *old = crate::command::output(read.arg(&file))?;
        let mut write = bench.lab.receiver.command(Path::new("/bin/sh"));
        run(write.args(["-c", &format!("echo {} > {file}", value.trim())]))?;
    }
    Ok(before)
}

fn configuration(folder: &Path, mute: bool) -> Result<String> {
    let state = folder.join("state");
    _ = fs::remove_dir_all(&state);
    fs::create_dir(&state)?;
    let listen = if mute { format!("listen = [\"{SPEAKER}:179\"]\n") } else { String::new() };
    let mut text = format!(
        "networks = [\"198.18.0.0/15\"]\n[listen]\nsflow = [\"127.0.0.1:6343\"]\nnetflow = []\n\
         [service]\ncontrol = \"{}\"\nstate = \"{}\"\n\
         [mitigation]\nmost_routes = 5000\n[rails]\nmost_routes = 5000\nchanges_per_minute = 100000\n\
         largest_share = \"100%\"\n\
         [bgp]\nlocal_as = 65010\nrouter_id = \"{SPEAKER}\"\nnext_hop_ipv4 = \"{NEXT_HOP}\"\n\
         {listen}",
        folder.join("control.sock").display(),
        state.display(),
    );
    for number in 0..ROUTERS {
        _ = write!(
            text,
            "[[bgp.peer]]\nname = \"router{number}\"\naddress = \"{}\"\nas = {}\n\
             source = \"{SPEAKER}\"\nretry = \"1s\"\nfamilies = [\"ipv4-unicast\"]\n\
             profile.max_prefixes = 2000\n",
            address(number),
            65_011 + u32::from(number)
        );
    }
    if mute {
        text += "[[bgp.peer]]\nname = \"mute\"\naddress = \"127.0.0.1\"\nas = 65001\n\
                 passive = true\nfamilies = [\"ipv4-unicast\"]\nprofile.max_prefixes = 2000\n";
    }
    Ok(text)
}

fn answer(folder: &Path, question: &str) -> Result<Value> {
    let mut line = String::new();
    ask(folder, question)?.read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn wait_for_sessions(folder: &Path, count: usize) -> Result<()> {
    let begin = Instant::now();
    loop {
        let peers = answer(folder, "{\"ask\":\"bgp_peers\"}").unwrap_or_default();
        let peers = peers["data"].as_array().cloned().unwrap_or_default();
        if peers.iter().filter(|peer| peer["state"] == "established").count() == count {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            bail!("not all BGP sessions are there: {peers:?}");
        }
        sleep(Duration::from_millis(50));
    }
}

/// Does what is to be sent to the peer that never reads wait?
fn is_blocked(folder: &Path) -> Result<bool> {
    let peers = answer(folder, "{\"ask\":\"bgp_peers\"}")?;
    let peers = peers["data"].as_array().context("no peers")?;
    Ok(peers.iter().any(|peer| peer["name"] == "mute" && peer["blocked"] == true))
}

fn ban(folder: &Path, number: u32) -> Result<()> {
    let target = format!("198.18.{}.{}", number >> 8, number & 0xff);
    let question = format!(
        "{{\"ask\":\"ban\",\"target\":\"{target}\",\"kind\":\"blackhole\",\
         \"direction\":\"incoming\",\"seconds\":3600}}"
    );
    let said = answer(folder, &question)?;
    if said["ok"] != true {
        bail!("{target} was not banned: {said}");
    }
    Ok(())
}

/// The client of a router, and when it has shown all routes.
fn watch(bench: &Bench, number: u16) -> Result<(Child, Receiver<f64>)> {
    let mut client = bench.lab.receiver.command(Path::new(CLIENT));
    client.args(["-p", &api(number), "monitor", "global", "rib"]);
    client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = client.spawn().context("starting gobgp")?;
    let lines = client.stdout.take().context("no standard output")?;
    let (sender, receiver) = channel();
    spawn(move || {
        let lines = BufReader::new(lines).lines().map_while(Result::ok);
        let routes = lines.filter(|line| line.contains("[ROUTE]"));
        if routes.take(MITIGATIONS as usize).count() == MITIGATIONS as usize {
            // Nobody waits any more after a failure.
            _ = sender.send(now());
        }
    });
    Ok((client, receiver))
}
