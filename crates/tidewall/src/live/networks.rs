//! This machine's own addresses, and those that a file lists, as networks of ours: now and as they
//! come and go.

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::Context;
use tidewall_capture::own_addresses::{self, AddressScope, AddressWatch, OwnAddress};
use tidewall_model::{Address, Prefix};
use tracing::{info, warn};

use super::spawn;

/// Changes come in groups: so long is waited for the rest of one.
const SETTLE: Duration = Duration::from_millis(200);
/// The watch is looked at so often when nothing happens.
const WAIT: Duration = Duration::from_mins(1);

/// A list that is longer is not one of addresses: this is some 100,000 of them.
const LONGEST_LIST: u64 = 4 << 20;

/// A file that lists addresses of ours, such as OpenVZ's `/proc/vz/veip`, as it was when it could
/// be read last.
#[derive(Clone, Debug, Default)]
pub struct AddressFile {
    path: Option<PathBuf>,
    hosts: Vec<Prefix>,
    /// Why it cannot be read, as it was told.
    told: Option<String>,
}

impl AddressFile {
    /// The file of this path, if any: read now, unless it is the one that is known already.
    #[must_use]
    pub fn go_on_with(&self, path: Option<&Path>) -> Self {
        if self.path.as_deref() == path {
            return self.clone();
        }
        let mut file = Self { path: path.map(Path::to_owned), ..Self::default() };
        file.read();
        file
    }

    /// Is there one?
    pub fn is_there(&self) -> bool {
        self.path.is_some()
    }

    /// Its addresses, each by itself, in order.
    pub fn hosts(&self) -> &[Prefix] {
        &self.hosts
    }

    /// Reads it again; true when other addresses are in it. When it cannot be read, that is told
    /// once, and what is known stays.
    pub fn read(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        match read_list(path) {
            Ok(text) => {
                if self.told.take().is_some() {
                    info!("{}: can be read again", path.display());
                }
                let hosts = listed(&text);
                let differ = hosts != self.hosts;
                self.hosts = hosts;
                differ
            }
            Err(error) => {
                let reason = error.to_string();
                if self.told.as_ref() != Some(&reason) {
                    let stay = match self.hosts.len() {
                        0 => "no address of it is ours until it can".to_owned(),
                        count => format!("its {count} addresses stay as they were"),
                    };
                    warn!(
                        "openvz_addresses: {} cannot be read: {reason}; {stay} (OpenVZ's kernel \
                         has this list at /proc/vz/veip)",
                        path.display()
                    );
                    self.told = Some(reason);
                }
                false
            }
        }
    }
}

fn read_list(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST_LIST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_LIST {
        return Err(io::Error::other(format!("it is longer than {LONGEST_LIST} bytes")));
    }
    Ok(text)
}

/// The addresses in a list, whatever else is in its lines: OpenVZ puts a heading above them and
/// the number of the container beside each.
fn listed(text: &str) -> Vec<Prefix> {
    let words = text.split_whitespace().filter_map(|word| word.parse::<IpAddr>().ok());
    let mut hosts: Vec<Prefix> =
        words.filter(|ip| !ip.is_unspecified()).map(|ip| Prefix::host(Address::from(ip))).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The networks of the machine's global addresses, on links and point to point.
pub fn own_networks() -> anyhow::Result<Vec<Prefix>> {
    own(OwnAddress::network)
}

/// The machine's global addresses, each by itself.
pub fn own_hosts() -> anyhow::Result<Vec<Prefix>> {
    own(|own| Prefix::host(own.address))
}

fn own(prefix: impl Fn(&OwnAddress) -> Prefix) -> anyhow::Result<Vec<Prefix>> {
    let addresses =
        own_addresses::own_addresses().context("the machine's own addresses cannot be read")?;
    let global = addresses.iter().filter(|own| own.scope == AddressScope::Global);
    let mut prefixes: Vec<Prefix> = global.map(prefix).collect();
    prefixes.sort();
    prefixes.dedup();
    Ok(prefixes)
}

/// Tells, from a thread of its own, whenever addresses have come or gone; until nobody listens.
pub fn watch<T: Send + 'static>(
    tell: Sender<T>,
    message: impl Fn() -> T + Send + 'static,
) -> anyhow::Result<()> {
    let mut watch =
        AddressWatch::open().context("changes of the machine's addresses cannot be watched")?;
    spawn("addresses", move || {
        loop {
            let told = watch.receive(WAIT, |_| ()).and_then(|mut changes| {
                let some = changes > 0;
                for _ in 0..10 {
                    if changes == 0 {
                        break;
                    }
                    changes = watch.receive(SETTLE, |_| ())?;
                }
                Ok(some)
            });
            match told {
                Ok(true) if tell.send(message()).is_err() => return,
                Ok(_) => {}
                Err(error) => {
                    return warn!("changes of the machine's addresses are not seen: {error}");
                }
            }
        }
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn hosts(list: &[&str]) -> Vec<Prefix> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn addresses_are_found_among_what_else_is_in_the_list() {
        let text = "Version: 2.2\n      2001:db8:f480:1:17:0:0:0          0\n\
                    \t   192.0.2.40        101\n         192.0.2.9        102\n\
                    192.0.2.40 101\n0.0.0.0 103\n1.2.3 4.5.6.7.8 999.1.1.1 x\n";
        let known = ["192.0.2.9/32", "192.0.2.40/32", "2001:db8:f480:1:17::/128"];
        assert_eq!(listed(text), hosts(&known));
        assert_eq!(listed("Version: 2.2\n"), []);
    }

    #[test]
    fn what_is_known_stays_when_the_file_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("veip");
        let mut file = AddressFile::default().go_on_with(Some(&path));
        assert!(!file.read() && file.hosts().is_empty());
        assert!(file.told.as_ref().is_some_and(|told| told.contains("No such file")));
        fs::write(&path, "Version: 2.2\n 192.0.2.1 101\n").unwrap();
        assert!(file.read() && file.told.is_none());
        assert!(!file.read(), "nothing has changed");
        fs::remove_file(&path).unwrap();
        assert!(!file.read());
        assert_eq!(file.hosts(), hosts(&["192.0.2.1/32"]));
        // The same file is gone on with, another one is read anew.
        assert_eq!(file.go_on_with(Some(&path)).hosts().len(), 1);
        assert!(!file.go_on_with(None).is_there());
        fs::write(&path, vec![b' '; LONGEST_LIST as usize + 1]).unwrap();
        assert!(!file.read());
        assert!(file.told.as_ref().is_some_and(|told| told.contains("longer")));
    }
}
