//! What outlives the service: a BGP peer with graceful restart, the reader of ExaBGP's pipe, and what
//! the notify script was told.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tidewall_bgp::RouteFamily;
use tidewall_bgp::message::{self, MAX_MESSAGE, Message, RawMessage};
use tidewall_bgp::open::{Capabilities, GracefulRestart, Open};
use tidewall_bgp::update::{Update, UpdateContext};

/// AS number of the peer.
pub const PEER_AS: u16 = 64_500;

/// Hosts by their address.
pub type Hosts = BTreeSet<String>;

/// All of it. Its threads end with the test.
pub struct World {
    pub port: u16,
    rib: Arc<Mutex<Rib>>,
    lines: Arc<Mutex<Hosts>>,
    told: PathBuf,
    /// UPDATEs that came ...
    pub updates: Arc<AtomicU64>,
    /// ... and lines of the pipe.
    pub written: Arc<AtomicU64>,
}

/// What the peer has.
#[derive(Clone, Debug, Default)]
pub struct Rib {
    /// `false`: of an earlier session, kept until the new one's routes are complete.
    pub routes: BTreeMap<String, bool>,
    /// There is a session, and its first routes are complete.
    pub complete: bool,
}

impl World {
    /// Makes pipe and script in a folder, and listens.
    pub fn start(folder: &Path) -> Self {
        let script = format!("#!/bin/sh\necho \"$4 $1\" >> {}/told\n", folder.display());
        let path = folder.join("notify");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let pipe = folder.join("exabgp.cmd");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let world = Self {
            port: listener.local_addr().unwrap().port(),
            rib: Arc::default(),
            lines: Arc::default(),
            told: folder.join("told"),
            updates: Arc::default(),
            written: Arc::default(),
        };
        let (rib, updates) = (Arc::clone(&world.rib), Arc::clone(&world.updates));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A service that is killed ends a session in the middle.
                _ = session(stream.unwrap(), &rib, &updates);
                let mut rib = rib.lock().unwrap();
                rib.complete = false;
                rib.routes.values_mut().for_each(|fresh| *fresh = false);
            }
        });
        // Opened for writing, too, it does not end with its writer.
        let reader = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let (lines, written) = (Arc::clone(&world.lines), Arc::clone(&world.written));
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines() {
                let line = line.unwrap();
                let words: Vec<&str> = line.split(' ').collect();
                let host = words[2].strip_suffix("/32").unwrap().to_owned();
                match words[0] {
                    "announce" => _ = lines.lock().unwrap().insert(host),
                    "withdraw" => _ = lines.lock().unwrap().remove(&host),
                    _ => panic!("{line}"),
                }
                written.fetch_add(1, Ordering::SeqCst);
            }
        });
        world
    }

    pub fn rib(&self) -> Rib {
        self.rib.lock().unwrap().clone()
    }

    /// What ExaBGP would announce.
    pub fn piped(&self) -> Hosts {
        self.lines.lock().unwrap().clone()
    }

    /// Hosts that the script has banned and not unbanned.
    pub fn scripted(&self) -> Hosts {
        let mut banned = Hosts::new();
        for line in fs::read_to_string(&self.told).unwrap_or_default().lines() {
            match line.split_once(' ').unwrap() {
                ("ban", host) => _ = banned.insert(host.to_owned()),
                ("unban", host) => _ = banned.remove(host),
                _ => {}
            }
        }
        banned
    }

    /// Octets that the script has written.
    pub fn told(&self) -> u64 {
        fs::metadata(&self.told).map_or(0, |file| file.len())
    }
}

/// The peer's side of a session, until the other side is gone.
fn session(
    mut stream: TcpStream,
    rib: &Mutex<Rib>,
    updates: &AtomicU64,
) -> Result<(), Box<dyn std::error::Error>> {
    let family = RouteFamily::Ipv4Unicast.into();
    let (mut buffer, mut chunk, mut greeted) = (Vec::new(), [0; 4096], false);
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&chunk[..read]);
        while let Some(raw) = RawMessage::parse(&buffer, MAX_MESSAGE)? {
            match raw.message()? {
                Message::Open(open) => {
                    let restart = open.capabilities.graceful_restart.unwrap_or_default();
                    if !restart.families.contains(&(family, true)) {
                        rib.lock().unwrap().routes.clear();
                    }
                    stream.write_all(&hello())?;
                }
                Message::Keepalive if !greeted => {
                    greeted = true;
                    let mut answer = Vec::new();
                    message::keepalive(&mut answer);
                    stream.write_all(&answer)?;
                }
                Message::Update(body) => {
                    take(body, &mut rib.lock().unwrap())?;
                    updates.fetch_add(1, Ordering::SeqCst);
                }
                Message::Notification(_) => rib.lock().unwrap().routes.clear(),
                Message::Keepalive | Message::RouteRefresh(_) => {}
            }
            let length = raw.length;
            buffer.drain(..length);
        }
    }
}

fn hello() -> Vec<u8> {
    let family = RouteFamily::Ipv4Unicast.into();
    let restart = GracefulRestart {
        restarting: false,
        notification: true,
        time: 120,
        families: vec![(family, true)],
    };
    let open = Open {
        two_octet_as: PEER_AS,
        hold_time: 90,
        router_id: Ipv4Addr::new(192, 0, 2, 250),
        capabilities: Capabilities {
            families: vec![family],
            four_octet_as: Some(PEER_AS.into()),
            graceful_restart: Some(restart),
            ..Capabilities::default()
        },
    };
    let mut out = Vec::new();
    open.encode(&mut out);
    out
}

fn take(body: &[u8], rib: &mut Rib) -> Result<(), Box<dyn std::error::Error>> {
    let update = Update::parse(body, UpdateContext { four_octet_as: true, internal: false })?;
    if update.end_of_rib() == Some(RouteFamily::Ipv4Unicast.into()) {
        rib.routes.retain(|_, fresh| *fresh);
        rib.complete = true;
    }
    for (announced, nlri) in update.routes() {
        let host = nlri?.to_string().strip_suffix("/32").unwrap().to_owned();
        if announced {
            rib.routes.insert(host, true);
        } else {
            rib.routes.remove(&host);
        }
    }
    Ok(())
}
