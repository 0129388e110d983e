//! A router beside the receivers: Debian's gobgpd on the loopback of their name space, and its
//! client, which tells each new route. Both are ended by their process number.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::lab::Lab;
use super::receiver::now;
use crate::command::works;

pub(super) const DAEMON: &str = "/usr/bin/gobgpd";
pub(super) const CLIENT: &str = "/usr/bin/gobgp";
/// Where blackholes lead to (RFC 5737); nobody resolves it here.
pub(super) const NEXT_HOP: &str = "192.0.2.254";
const ADDRESS: &str = "127.0.0.1";
const SPEAKER: &str = "127.0.0.2";
const PATIENCE: Duration = Duration::from_secs(20);

/// Is it installed?
pub(super) fn is_there() -> bool {
    Path::new(DAEMON).exists() && Path::new(CLIENT).exists()
}

/// The tables of a tidewall that is its neighbour.
pub(super) fn speaker() -> String {
    format!(
        "[bgp]\nlocal_as = 65010\nrouter_id = \"{SPEAKER}\"\nnext_hop_ipv4 = \"{NEXT_HOP}\"\n\
         [[bgp.peer]]\nname = \"router\"\naddress = \"{ADDRESS}\"\nas = 65001\n\
         source = \"{SPEAKER}\"\nretry = \"1s\"\nfamilies = [\"ipv4-unicast\"]\n"
    )
}

/// A running gobgpd.
pub(super) struct Router<'a> {
    lab: &'a Lab,
    daemon: Child,
}

impl<'a> Router<'a> {
    /// Starts it and waits until its API answers.
    pub(super) fn start(lab: &'a Lab) -> Result<Self> {
        let file = lab.folder.join("gobgpd.conf");
        let configuration = format!(
            "[global.config]\nas = 65001\nrouter-id = \"{ADDRESS}\"\n\
             local-address-list = [\"{ADDRESS}\"]\n\
             [[neighbors]]\n[neighbors.config]\nneighbor-address = \"{SPEAKER}\"\n\
             peer-as = 65010\n[neighbors.transport.config]\npassive-mode = true\n"
        );
        fs::write(&file, configuration)?;
        let log = fs::File::create(lab.folder.join("gobgpd.log"))?;
        let mut program = lab.receiver.command(Path::new(DAEMON));
        // The port of the API is the one that FastNetMon calls.
        program.arg("-f").arg(file).args(["--api-hosts", "127.0.0.1:50051"]);
        program.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let daemon = program.spawn().context("starting gobgpd")?;
        let mut router = Self { lab, daemon };
        let begin = Instant::now();
        while router.neighbours().is_none() {
            if let Some(status) = router.daemon.try_wait()? {
                let log = fs::read_to_string(lab.folder.join("gobgpd.log")).unwrap_or_default();
                bail!("gobgpd ended with {status}: {log}");
            }
            if begin.elapsed() > PATIENCE {
                bail!("gobgpd does not answer");
            }
            sleep(Duration::from_millis(100));
        }
        Ok(router)
    }

    /// What it says about its neighbours, once it does.
    fn neighbours(&self) -> Option<String> {
        let mut client = self.lab.receiver.command(Path::new(CLIENT));
        let said = client.arg("neighbor").stdin(Stdio::null()).output().ok()?;
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// Waits until the session with the speaker is there.
    pub(super) fn wait_for_session(&self) -> Result<()> {
        let begin = Instant::now();
        while !self.neighbours().unwrap_or_default().contains("Establ") {
            if begin.elapsed() > PATIENCE {
                bail!("there is no BGP session with gobgpd");
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Its routes from now on.
    pub(super) fn watch(&self) -> Result<Routes> {
        let mut client = self.lab.receiver.command(Path::new(CLIENT));
        client.args(["monitor", "global", "rib"]);
        client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = client.spawn().context("starting gobgp")?;
        let lines = client.stdout.take().context("no standard output")?;
        let (sender, receiver) = channel();
        // The time is taken where the line is read, whoever is late to look.
        spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                if sender.send((now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Routes { client, lines: receiver })
    }
}

impl Drop for Router<'_> {
    fn drop(&mut self) {
        end(&mut self.daemon);
    }
}

/// The client that tells of new routes.
pub(super) struct Routes {
    client: Child,
    lines: Receiver<(f64, String)>,
}

impl Routes {
    /// When the route to a host appeared, in seconds since 1970.
    pub(super) fn first_about(&self, host: &str, patience: Duration) -> Option<f64> {
        first_about(&self.lines, host, patience)
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        end(&mut self.client);
    }
}

fn first_about(lines: &Receiver<(f64, String)>, host: &str, patience: Duration) -> Option<f64> {
    let prefix = format!(" {host}/32 ");
    let begin = Instant::now();
    loop {
        match lines.recv_timeout(patience.saturating_sub(begin.elapsed())) {
            Ok((time, line)) if line.contains("[ROUTE]") && line.contains(&prefix) => {
                return Some(time);
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Ends a process that was started here.
pub(super) fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    works(&["kill", "-TERM", &child.id().to_string()]);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        sleep(Duration::from_millis(20));
    }
    _ = child.kill();
    _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_new_route_to_the_host_counts() {
        let (sender, lines) = channel();
        for (time, line) in [
            (1.0, "2026-01-31T18:20:13Z [ROUTE] 10.0.99.9/32 via 192.0.2.254 aspath []"),
            (2.0, "2026-01-31T18:20:13Z [DELROUTE] 10.0.99.99/32 via 192.0.2.254 aspath []"),
            (3.0, "2026-01-31T18:20:14Z [ROUTE] 10.0.99.99/32 via 192.0.2.254 aspath []"),
            (4.0, "2026-01-31T18:20:15Z [ROUTE] 10.0.99.99/32 via 192.0.2.254 aspath []"),
        ] {
            sender.send((time, line.to_owned())).unwrap();
        }
        assert_eq!(first_about(&lines, "10.0.99.99", PATIENCE), Some(3.0));
        drop(sender);
        assert_eq!(first_about(&lines, "10.0.99.7", PATIENCE), None);
    }
}
