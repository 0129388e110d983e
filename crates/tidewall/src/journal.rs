//! The journal: every decision is written here before it is carried out, so that a restart, however
//! sudden, knows what must be put up again and what must be withdrawn; and the history of attacks
//! and decisions. Belongs to the one thread that hands decisions to actions. A disk that is full or
//! broken stops nothing: what could not be written is kept, counted, and written when it can be.

mod backlog;
mod history;
mod past;
mod record;
mod store;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use thiserror::Error;
use tidewall_engine::planner::{Decision, Saved};
use tidewall_model::{AttackEvent, Timestamp};

use backlog::Backlog;
pub use history::{History, HistoryQuery, to_json, to_text};
pub use past::{PastAttack, PastDecision, PastReason, PastVector};
pub use record::RecordError;
pub use store::Retention;
use store::Store;

/// Why the journal could not be read or written.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The disk or the file system does not do what is asked.
    #[error("journal {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("journal {} is in use: is another tidewall running?", path.display())]
    Busy {
        /// Which file.
        path: PathBuf,
    },
    /// It was written by a later version.
    #[error(
        "journal {} has format {found}, and this program knows up to {known}: it was written by a \
         newer version. Use that version, or move the file away",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest known format.
        known: u64,
    },
    /// Its content is damaged.
    #[error("journal {} is damaged: {why}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What was found when the journal was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// There was no journal, and an empty one was made.
    pub is_new: bool,
    /// The journal that was there is damaged: where it was moved to, and what is wrong with it.
    pub damaged: Option<(PathBuf, String)>,
}

impl Opened {
    /// What people should know, if anything.
    pub fn warning(&self) -> Option<String> {
        let (path, why) = self.damaged.as_ref()?;
        Some(format!(
            "the journal was damaged ({why}). It was moved to {} and a new one begun. What was \
             announced before is not known any more: look for routes that should be withdrawn, and \
             for bans that should be made again",
            path.display()
        ))
    }
}

/// What the journal has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Times that something was written.
    pub commits: u64,
    /// Times that it could not be.
    pub failures: u64,
    /// Entries that wait to be written.
    pub waiting: usize,
    /// Entries of the history that were lost because too many waited.
    pub lost: u64,
    /// Entries that could not be understood when they were read.
    pub unreadable: u64,
}

/// Decisions and attacks on disk.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Closed after a failure, until it can be opened again.
    store: Option<Store>,
    backlog: Backlog,
    stats: JournalStats,
}

/// Reads the past beside the journal.
#[derive(Debug)]
pub struct JournalReader(Store);

impl JournalReader {
    /// Attacks and decisions of the past, newest first.
    pub fn history(&self, query: &HistoryQuery) -> Result<History, JournalError> {
        self.0.history(query).map(|(history, _)| history)
    }
}

impl Journal {
    /// Opens the journal, or makes an empty one. A damaged one is moved aside, never deleted.
    pub fn open(path: &Path) -> Result<(Self, Opened), JournalError> {
        let (store, opened) = Store::open_or_create(path)?;
        let next_entry = store.next_entry()?;
        let journal = Self {
            path: path.to_owned(),
            store: Some(store),
            backlog: Backlog::new(next_entry),
            stats: JournalStats::default(),
        };
        Ok((journal, opened))
    }

    /// What should be up and what should be withdrawn, by the decisions that were recorded.
    pub fn restore(&mut self) -> Result<Saved, JournalError> {
        let (saved, unreadable) = self.store()?.restore()?;
        self.stats.unreadable += unreadable;
        Ok(saved)
    }

    /// Writes decisions, all or none; when it returns they outlive a power failure. To be called
    /// before they are carried out. After an error they are carried out all the same: the journal
    /// keeps them and tries again with the next ones.
    pub fn record(&mut self, decisions: &[Decision]) -> Result<(), JournalError> {
        for decision in decisions {
            self.backlog.decide(decision);
        }
        self.flush()
    }

    /// Notes what happened to an attack. It is written with the next decisions or the next
    /// [`Journal::flush`]: losing the last second of an attack's history is no harm.
    pub fn attack(&mut self, event: &AttackEvent) {
        self.backlog.attack(&event.attack);
    }

    /// Writes what waits. Wanted about once a second.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        if self.backlog.is_empty() {
            return Ok(());
        }
        let written = match self.store() {
            Ok(_) => self.store.as_ref().map_or(Ok(()), |store| store.write(&self.backlog)),
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => {
                self.stats.commits += 1;
                self.backlog.clear();
                Ok(())
            }
            Err(error) => {
                self.stats.failures += 1;
                // After a failed write the store must be opened anew before it can be used.
                self.store = None;
                Err(error)
            }
        }
    }

    /// Attacks and decisions of the past, newest first. What waits to be written is not among them.
    pub fn history(&mut self, query: &HistoryQuery) -> Result<History, JournalError> {
        let (history, unreadable) = self.store()?.history(query)?;
        self.stats.unreadable += unreadable;
        Ok(history)
    }

    /// The past for another thread, so that a long question holds up no decision. What is written
    /// from then on is seen, too.
    pub fn reader(&mut self) -> Result<JournalReader, JournalError> {
        Ok(JournalReader(self.store()?.share()))
    }

    /// Deletes what is older or more than may be kept, some thousand entries at a time. Gives how
    /// many it deleted.
    pub fn prune(&mut self, now: Timestamp, retention: &Retention) -> Result<u64, JournalError> {
        let pruned = self.store()?.prune(now, retention);
        if pruned.is_err() {
            self.stats.failures += 1;
            self.store = None;
        }
        pruned
    }

    /// What has been counted.
    pub fn stats(&self) -> JournalStats {
        let (waiting, lost) = (self.backlog.len(), self.backlog.lost());
        JournalStats { waiting, lost, ..self.stats }
    }

    /// The store, opened again if a failure had closed it.
    fn store(&mut self) -> Result<&Store, JournalError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::reopen(&self.path)?,
        };
        Ok(self.store.insert(store))
    }
}
