//! The file behind the journal: a redb store with a table for the mitigations that are not over, one
//! for repeat victims, and two for the history. Every write is one transaction that is on disk when it returns.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{
    Builder, Database, Key, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, TableDefinition, TableError, WriteTransaction,
};
use tidewall_engine::planner::{Saved, Victim};
use tidewall_model::{Mitigation, Timestamp};

use super::backlog::{Backlog, Brake, EntryKey};
use super::history::{History, HistoryQuery};
use super::past::{PastAttack, PastDecision};
use super::record::{StoredMitigation, StoredVictim, from_bytes};
use super::{JournalError, Opened};

/// Format of the file: which tables there are, and their keys.
const FORMAT: u64 = 1;
/// Entries that one call of `prune` deletes from a table at most.
const PRUNE_STEP: u64 = 10_000;
/// Memory for pages of the file.
const CACHE_BYTES: usize = 8 << 20;
/// Damaged files that are kept beside each other.
const MOST_DAMAGED: u32 = 10_000;

const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new("texts");
const MITIGATIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("mitigations");
/// Made when there is the first one: journals of earlier versions have none.
const VICTIMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("victims");
const ATTACKS: TableDefinition<'_, EntryKey, &[u8]> = TableDefinition::new("attacks");
const DECISIONS: TableDefinition<'_, EntryKey, &[u8]> = TableDefinition::new("decisions");

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Older entries are deleted.
    pub age: Duration,
    /// Most attacks.
    pub attacks: u64,
    /// Most decisions.
    pub decisions: u64,
}

impl Default for Retention {
    /// A year, and some hundred megabytes.
    fn default() -> Self {
        Self { age: Duration::from_hours(365 * 24), attacks: 200_000, decisions: 500_000 }
    }
}

/// An open file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    database: Arc<Database>,
}

impl Store {
    /// Opens a file that is checked from end to end, or makes an empty one. A damaged file is moved
    /// aside first.
    pub(super) fn open_or_create(path: &Path) -> Result<(Self, Opened), JournalError> {
        let mut opened = Opened::default();
        match fs::symlink_metadata(path) {
            Ok(_) => match Self::open(path, true) {
                Ok(store) => return Ok((store, opened)),
                Err(JournalError::Damaged { why, .. }) => {
                    opened.damaged = Some((move_aside(path)?, why));
                }
                // A check writes, too. Without it a full disk need not keep anybody from reading.
                Err(JournalError::Io { .. }) => return Ok((Self::open(path, false)?, opened)),
                Err(error) => return Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(JournalError::Io { path: path.to_owned(), source }),
        }
        opened.is_new = true;
        create(path)?;
        Ok((Self::open(path, false)?, opened))
    }

    /// Opens a file again that was good before.
    pub(super) fn reopen(path: &Path) -> Result<Self, JournalError> {
        Self::open(path, false)
    }

    fn open(path: &Path, check: bool) -> Result<Self, JournalError> {
        let database =
            guarded(path, || Ok(builder().set_check_integrity_on_open(check).open(path)?))?;
        Self::of(path, database)
    }

    /// A journal in an open database, which may be another's.
    pub(super) fn of(path: &Path, database: Database) -> Result<Self, JournalError> {
        let store = Self { path: path.to_owned(), database: Arc::new(database) };
        let format = guarded(path, || {
            let read = store.database.begin_read()?;
            // Tables that are missing or of another type are damage, too.
            read.open_table(TEXTS)?;
            read.open_table(MITIGATIONS)?;
            read.open_table(ATTACKS)?;
            read.open_table(DECISIONS)?;
            let format = read.open_table(NUMBERS)?.get("format")?;
            Ok(format.map(|format| format.value()))
        })?;
        match format {
            Some(1..=FORMAT) => Ok(store),
            Some(found) if found > FORMAT => {
                Err(JournalError::Newer { path: path.to_owned(), found, known: FORMAT })
            }
            _ => Err(JournalError::Damaged {
                path: path.to_owned(),
                why: "it does not say its format".to_owned(),
            }),
        }
    }

    /// The number of the next entry of the history.
    pub(super) fn next_entry(&self) -> Result<u64, JournalError> {
        self.number("next_entry")
    }

    fn number(&self, name: &str) -> Result<u64, JournalError> {
        guarded(&self.path, || {
            let numbers = self.database.begin_read()?.open_table(NUMBERS)?;
            Ok(numbers.get(name)?.map_or(0, |number| number.value()))
        })
    }

    /// The same file, for another thread to read from.
    pub(super) fn share(&self) -> Self {
        Self { path: self.path.clone(), database: Arc::clone(&self.database) }
    }

    /// What was up, and how many entries cannot be understood.
    pub(super) fn restore(&self) -> Result<(Saved, u64), JournalError> {
        let next_id = self.number("next_id")?;
        guarded(&self.path, || {
            let read = self.database.begin_read()?;
            let held = read.open_table(TEXTS)?.get("held")?.map(|who| who.value().to_owned());
            let (mut mitigations, mut unreadable) = (Vec::new(), 0);
            for entry in read.open_table(MITIGATIONS)?.range::<u64>(..)? {
                let (_, bytes) = entry?;
                let stored = from_bytes::<StoredMitigation>(bytes.value());
                match stored.and_then(Mitigation::try_from) {
                    Ok(mitigation) => mitigations.push(mitigation),
                    Err(_) => unreadable += 1,
                }
            }
            let victims = read_victims(&read, &mut unreadable)?;
            Ok((Saved { mitigations, next_id, held, victims }, unreadable))
        })
    }

    /// Writes everything that waits, or nothing.
    pub(super) fn write(&self, backlog: &Backlog) -> Result<(), JournalError> {
        guarded(&self.path, || {
            let write = self.database.begin_write()?;
            write_all(&write, backlog)?;
            write.commit()?;
            Ok(())
        })
    }

    /// Entries of the history, newest first, and how many cannot be understood.
    pub(super) fn history(&self, query: &HistoryQuery) -> Result<(History, u64), JournalError> {
        guarded(&self.path, || {
            let read = self.database.begin_read()?;
            let (mut history, mut unreadable) = (History::default(), 0);
            let from = (query.since.map_or(0, |since| since.0), 0);
            for entry in read.open_table(ATTACKS)?.range(from..)?.rev() {
                if history.attacks.len() >= query.limit {
                    break;
                }
                match from_bytes::<PastAttack>(entry?.1.value()) {
                    Ok(attack) if query.wants(Some(&attack.target)) => history.attacks.push(attack),
                    Ok(_) => {}
                    Err(_) => unreadable += 1,
                }
            }
            for entry in read.open_table(DECISIONS)?.range(from..)?.rev() {
                if history.decisions.len() >= query.limit {
                    break;
                }
                match from_bytes::<PastDecision>(entry?.1.value()) {
                    Ok(past) if query.wants(past.target.as_deref()) => history.decisions.push(past),
                    Ok(_) => {}
                    Err(_) => unreadable += 1,
                }
            }
            Ok((history, unreadable))
        })
    }

    /// Deletes what is too old or too much; gives how many entries.
    pub(super) fn prune(&self, now: Timestamp, retention: &Retention) -> Result<u64, JournalError> {
        let oldest = (now - retention.age).0;
        guarded(&self.path, || {
            let write = self.database.begin_write()?;
            let pruned = prune_table(&write, ATTACKS, oldest, retention.attacks)?
                + prune_table(&write, DECISIONS, oldest, retention.decisions)?;
            if pruned == 0 {
                write.abort()?;
            } else {
                write.commit()?;
            }
            Ok(pruned)
        })
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn read_victims(read: &ReadTransaction, unreadable: &mut u64) -> Result<Vec<Victim>, redb::Error> {
    let table = match read.open_table(VICTIMS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut victims = Vec::new();
    for entry in table.range::<&str>(..)? {
        let (_, bytes) = entry?;
        match from_bytes::<StoredVictim>(bytes.value()).and_then(Victim::try_from) {
            Ok(victim) => victims.push(victim),
            Err(_) => *unreadable += 1,
        }
    }
    Ok(victims)
}

fn write_all(write: &WriteTransaction, backlog: &Backlog) -> Result<(), redb::Error> {
    let mut mitigations = write.open_table(MITIGATIONS)?;
    for (id, bytes) in &backlog.mitigations {
        match bytes {
            Some(bytes) => _ = mitigations.insert(id, bytes.as_slice())?,
            None => _ = mitigations.remove(id)?,
        }
    }
    if !backlog.victims.is_empty() {
        let mut victims = write.open_table(VICTIMS)?;
        for (key, bytes) in &backlog.victims {
            match bytes {
                Some(bytes) => _ = victims.insert(key.as_str(), bytes.as_slice())?,
                None => _ = victims.remove(key.as_str())?,
            }
        }
    }
    let mut attacks = write.open_table(ATTACKS)?;
    for (key, bytes) in &backlog.attacks {
        attacks.insert(key, bytes.as_slice())?;
    }
    let mut decisions = write.open_table(DECISIONS)?;
    for (key, bytes) in &backlog.decisions {
        decisions.insert(key, bytes.as_slice())?;
    }
    let mut numbers = write.open_table(NUMBERS)?;
    let known = numbers.get("next_id")?.map_or(0, |id| id.value());
    if backlog.next_id > known {
        numbers.insert("next_id", backlog.next_id)?;
    }
    if let Some(((_, last), _)) = backlog.decisions.back() {
        numbers.insert("next_entry", last.saturating_add(1))?;
    }
    let mut texts = write.open_table(TEXTS)?;
    match &backlog.brake {
        Some(Brake::Pulled(who)) => _ = texts.insert("held", who.as_str())?,
        Some(Brake::Released) => _ = texts.remove("held")?,
        None => {}
    }
    Ok(())
}

fn prune_table(
    write: &WriteTransaction,
    definition: TableDefinition<'_, EntryKey, &[u8]>,
    oldest_ns: u64,
    most: u64,
) -> Result<u64, redb::Error> {
    let mut table = write.open_table(definition)?;
    let mut pruned = 0;
    while pruned < PRUNE_STEP {
        let is_over = table.len()? > most;
        let is_old = match table.first()? {
            Some((key, _)) => key.value().0 < oldest_ns,
            None => return Ok(pruned),
        };
        if !is_over && !is_old {
            break;
        }
        table.pop_first()?;
        pruned += 1;
    }
    Ok(pruned)
}

/// Makes an empty journal under another name first: a program that is killed while it makes one
/// leaves none, not a damaged one.
fn create(path: &Path) -> Result<(), JournalError> {
    let failed = |source| JournalError::Io { path: path.to_owned(), source };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&new).map_err(failed)?;
    guarded(path, || {
        let database = builder().create_with_backend(FileBackend::new(file)?)?;
        fill(&database)?;
        database.close()?;
        Ok(())
    })?;
    fs::rename(&new, path).map_err(failed)?;
    sync_folder(path).map_err(failed)
}

/// Makes the tables of an empty journal.
pub(super) fn fill(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(NUMBERS)?.insert("format", FORMAT)?;
    touch(&write, TEXTS)?;
    touch(&write, MITIGATIONS)?;
    touch(&write, ATTACKS)?;
    touch(&write, DECISIONS)?;
    write.commit()?;
    Ok(())
}

fn touch<K: Key + 'static, V: redb::Value + 'static>(
    write: &WriteTransaction,
    definition: TableDefinition<'_, K, V>,
) -> Result<(), redb::Error> {
    write.open_table(definition)?;
    Ok(())
}

/// Moves a damaged file to the first free name beside it.
fn move_aside(path: &Path) -> Result<PathBuf, JournalError> {
    let failed = |source| JournalError::Io { path: path.to_owned(), source };
    for number in 1..MOST_DAMAGED {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let aside = PathBuf::from(name);
        if fs::symlink_metadata(&aside).is_err() {
            fs::rename(path, &aside).map_err(failed)?;
            sync_folder(path).map_err(failed)?;
            return Ok(aside);
        }
    }
    Err(failed(io::Error::other("too many damaged journals beside it")))
}

/// A new name is on disk only when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Runs an operation of the store. Damage that the store does not foresee may make it panic: that is
/// an error like any other here.
fn guarded<T>(
    path: &Path,
    operation: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, JournalError> {
    let path = || path.to_owned();
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(explain(error, path())),
        Err(_) => Err(JournalError::Damaged {
            path: path(),
            why: "the store gave up on its content".to_owned(),
        }),
    }
}

fn explain(error: redb::Error, path: PathBuf) -> JournalError {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        redb::Error::DatabaseAlreadyOpen => JournalError::Busy { path },
        redb::Error::Io(source) if matches!(source.kind(), UnexpectedEof | InvalidData) => {
            JournalError::Damaged { path, why: format!("it is cut short: {source}") }
        }
        redb::Error::Io(source) => JournalError::Io { path, source },
        redb::Error::PreviousIo
        | redb::Error::DatabaseClosed
        | redb::Error::LockPoisoned(_)
        | redb::Error::TransactionInProgress => {
            JournalError::Io { path, source: io::Error::other(error.to_string()) }
        }
        redb::Error::Corrupted(why) => JournalError::Damaged { path, why },
        other => JournalError::Damaged { path, why: other.to_string() },
    }
}
