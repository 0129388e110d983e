//! Power failures: a disk that loses or tears whatever was not synced, at any write.

use std::io;
use std::sync::Arc;
#[expect(clippy::disallowed_types, reason = "the store wants a disk that threads may share")]
use std::sync::Mutex;

use redb::{Database, StorageBackend};

use super::super::backlog::Backlog;
use super::super::store::{Store, fill};
use super::*;

const SECTOR: usize = 512;

#[derive(Debug)]
enum Write {
    At(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Default)]
struct Content {
    /// What survives.
    durable: Vec<u8>,
    /// What a reader sees.
    seen: Vec<u8>,
    /// What was not synced yet.
    pending: Vec<Write>,
    /// Writes and syncs until the power fails.
    left: u64,
}

#[derive(Clone, Debug, Default)]
#[expect(clippy::disallowed_types, reason = "the store wants a disk that threads may share")]
struct Disk(Arc<Mutex<Content>>);

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % end
    }
}

impl Content {
    fn spend(&mut self) -> io::Result<()> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(io::Error::other("no power")),
        }
    }

    /// What is on the disk after the failure: of what was not synced any sectors, or, now and
    /// then, everything.
    fn fail(&mut self, random: &mut Random) {
        let all = random.below(3) == 0;
        for write in self.pending.drain(..) {
            match write {
                Write::Length(length) if all || random.below(2) == 0 => {
                    self.durable.resize(length, 0);
                }
                Write::Length(_) => {}
                Write::At(place, bytes) => {
                    for (at, sector) in bytes.chunks(SECTOR).enumerate() {
                        let from = place + at * SECTOR;
                        if all || random.below(2) == 0 {
                            let end = self.durable.len().max(from + sector.len());
                            self.durable.resize(end, 0);
                            self.durable[from..from + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

impl Disk {
    fn with<T>(&self, work: impl FnOnce(&mut Content) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|content| content.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|content| {
            let end = offset as usize + out.len();
            let bytes = content.seen.get(offset as usize..end);
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|content| {
            content.spend()?;
            content.seen.resize(len as usize, 0);
            content.pending.push(Write::Length(len as usize));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|content| {
            content.spend()?;
            content.durable.clone_from(&content.seen);
            content.pending.clear();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|content| {
            content.spend()?;
            let (from, end) = (offset as usize, offset as usize + data.len());
            let length = content.seen.len().max(end);
            content.seen.resize(length, 0);
            content.seen[from..end].copy_from_slice(data);
            content.pending.push(Write::At(from, data.to_vec()));
            Ok(())
        })
    }
}

fn open(disk: &Disk) -> Store {
    let database = Database::builder().create_with_backend(disk.clone()).unwrap();
    Store::of(Path::new("disk"), database).unwrap()
}

/// Numbers of the mitigations that the journal knows.
fn known(store: &Store) -> Vec<u64> {
    let (saved, unreadable) = store.restore().unwrap();
    assert_eq!(unreadable, 0);
    saved.mitigations.iter().map(|m| m.id.0).collect()
}

#[test]
fn a_power_failure_loses_nothing_that_was_acknowledged() {
    let disk = Disk::default();
    disk.with(|content| content.left = u64::MAX);
    let database = Database::builder().create_with_backend(disk.clone()).unwrap();
    fill(&database).unwrap();
    drop(database);
    let mut random = Random(4711);
    let mut acknowledged: Vec<u64> = Vec::new();
    let (mut next, mut between, mut commits) = (1, 0, 0);
    for round in 0..300 {
        disk.with(|content| content.left = u64::MAX);
        let store = open(&disk);
        disk.with(|content| content.left = random.below(60));
        let mut tried = acknowledged.clone();
        loop {
            let mut backlog = Backlog::new(next);
            for _ in 0..=random.below(4) {
                backlog.decide(&apply(next));
                tried.push(next);
                next += 1;
            }
            if tried.len() > 20 {
                let gone = tried.remove(random.below(20) as usize);
                let gone = mitigation(gone, MitigationStatus::Withdrawn);
                backlog.decide(&decision(1, Change::Gone(End::Confirmed), gone));
            }
            if store.write(&backlog).is_err() {
                break;
            }
            commits += 1;
            acknowledged.clone_from(&tried);
        }
        drop(store);
        disk.with(|content| {
            content.left = u64::MAX;
            content.fail(&mut random);
        });
        let found = known(&open(&disk));
        between += usize::from(found != acknowledged);
        assert!(found == acknowledged || found == tried, "failure {round}: {found:?}");
        acknowledged = found;
    }
    assert!(commits > 100 && between > 0, "{commits} {between}: the test must test something");
}
