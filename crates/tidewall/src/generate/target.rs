//! Where load may go: to this machine itself, or into a network name space on it. Anything else
//! is somebody's network, and needs to be said in words.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use tidewall_capture::own_addresses;
use tidewall_model::Address;

/// 127.0.1.1: exporters on the loopback have addresses from here on.
const FIRST_EXPORTER: u32 = 0x7f00_0101;

/// Where the load goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Datagrams to this address.
    Address(SocketAddr),
    /// Frames by this interface.
    Interface(String),
}

/// Why the load would leave the machine.
#[derive(Debug, thiserror::Error)]
#[error(
    "{destination} is not known to be on this machine: {reason}. A load generator is a weapon \
     against whoever did not ask for it. If the target and all that lies between are yours, say \
     so: --i-own-the-target-and-the-path"
)]
pub struct Foreign {
    destination: String,
    reason: String,
}

impl Destination {
    /// Is it this machine's?
    pub fn check(&self) -> Result<(), Foreign> {
        match self {
            Self::Address(address) => check_address(*address)
                .map_err(|reason| Foreign { destination: address.ip().to_string(), reason }),
            Self::Interface(name) => contained(Path::new("/sys/class/net"), name)
                .map_err(|reason| Foreign { destination: format!("interface {name}"), reason }),
        }
    }
}

/// The address from which the exporter with this number sends.
pub fn source_address(to: SocketAddr, exporter: u16) -> SocketAddr {
    let ip: IpAddr = match to.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => {
            (FIRST_EXPORTER + u32::from(exporter)).to_be_bytes().into()
        }
        IpAddr::V4(_) => [0, 0, 0, 0].into(),
        IpAddr::V6(_) => [0_u16; 8].into(),
    };
    SocketAddr::new(ip, 0)
}

fn check_address(to: SocketAddr) -> Result<(), String> {
    if to.ip().is_loopback() {
        return Ok(());
    }
    let own = own_addresses::own_addresses()
        .map_err(|error| format!("this machine's addresses cannot be read: {error}"))?;
    let target = Address::from(to.ip());
    if own.iter().any(|own| own.address == target) {
        return Ok(());
    }
    // Nothing is sent: the kernel says which of our addresses leads there.
    let from = UdpSocket::bind(source_address(to, 0))
        .and_then(|socket| socket.connect(to).and_then(|()| socket.local_addr()))
        .map_err(|error| format!("no way leads there: {error}"))?;
    let from = Address::from(from.ip());
    let Some(own) = own.iter().find(|own| own.address == from) else {
        return Err("the way there is not known".to_owned());
    };
    let folder = Path::new("/sys/class/net");
    let name = interface_name(folder, own.interface)
        .ok_or_else(|| "the interface that leads there is not known".to_owned())?;
    contained(folder, &name).map_err(|reason| format!("{name} leads there, and {reason}"))
}

fn interface_name(folder: &Path, index: u32) -> Option<String> {
    fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let text = fs::read_to_string(entry.path().join("ifindex")).ok()?;
        let is_it = text.trim().parse() == Ok(index);
        is_it.then(|| entry.file_name().to_string_lossy().into_owned())
    })
}

/// Does an interface lead nowhere but to this machine: the loopback, a veth pair, a dummy?
fn contained(folder: &Path, name: &str) -> Result<(), String> {
    let path = folder.join(name);
    if name.is_empty() || name.contains('/') || !path.exists() {
        return Err("it does not exist".to_owned());
    }
    if path.join("device").exists() {
        return Err("it is a network card".to_owned());
    }
    let is_virtual =
        fs::canonicalize(&path).is_ok_and(|real| real.starts_with("/sys/devices/virtual"));
    if !is_virtual && folder == Path::new("/sys/class/net") {
        return Err("it is not a virtual interface".to_owned());
    }
    let text = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
    if text("uevent").contains("DEVTYPE=") || path.join("tun_flags").exists() {
        return Err("it may be a tunnel, a bridge or a part of a card".to_owned());
    }
    // ARPHRD_ETHER and ARPHRD_LOOPBACK; tunnels have other types.
    if !matches!(text("type").trim(), "1" | "772") {
        return Err("it may be a tunnel".to_owned());
    }
    let entries = fs::read_dir(&path).map_err(|error| error.to_string())?;
    for entry in entries.flatten() {
        let file = entry.file_name();
        if file == "master" || file.to_string_lossy().starts_with("lower_") {
            return Err("it is joined to another interface".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_itself_is_allowed_and_others_are_not() {
        let check = |text: &str| Destination::Address(text.parse().unwrap()).check();
        check("127.0.0.1:6343").unwrap();
        check("127.9.9.9:1").unwrap();
        check("[::1]:2055").unwrap();
        for foreign in ["192.0.2.1:6343", "198.51.100.1:2055", "[2001:db8::1]:4739"] {
            let said = check(foreign).unwrap_err().to_string();
            assert!(said.contains("--i-own-the-target-and-the-path"), "{said}");
        }
        Destination::Interface("lo".to_owned()).check().unwrap();
        assert!(Destination::Interface("no-such-if".to_owned()).check().is_err());
        assert!(Destination::Interface("../net/lo".to_owned()).check().is_err());
    }

    #[test]
    fn only_interfaces_that_lead_nowhere_else_are_contained() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, kind: &str, files: &[(&str, &str)]| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("type"), format!("{kind}\n")).unwrap();
            for (file, text) in files {
                fs::write(path.join(file), text).unwrap();
            }
            contained(folder.path(), name)
        };
        make("veth0", "1", &[("uevent", "INTERFACE=veth0\n")]).unwrap();
        make("lo", "772", &[]).unwrap();
        assert!(make("eth0", "1", &[("device", "")]).is_err());
        assert!(make("br0", "1", &[("uevent", "DEVTYPE=bridge\n")]).is_err());
        assert!(make("tap0", "1", &[("tun_flags", "0x1002\n")]).is_err());
        assert!(make("tun0", "65534", &[]).is_err());
        assert!(make("macvlan0", "1", &[("lower_eth0", "")]).is_err());
        assert!(make("vethb", "1", &[("master", "")]).is_err());
    }

    #[test]
    fn exporters_have_addresses_of_their_own_on_the_loopback() {
        let to: SocketAddr = "127.0.0.1:6343".parse().unwrap();
        assert_eq!(source_address(to, 0).to_string(), "127.0.1.1:0");
        assert_eq!(source_address(to, 249).to_string(), "127.0.1.250:0");
        assert_eq!(source_address("192.0.2.1:1".parse().unwrap(), 3).to_string(), "0.0.0.0:0");
    }
}
