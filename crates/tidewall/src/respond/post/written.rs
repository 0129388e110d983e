//! What the post writes down: decisions before they are carried out, the history in small steps, and
//! what is said when the disk does not do it.

use std::time::Duration;

use tidewall_engine::planner::Decision;
use tidewall_model::Timestamp;
use tracing::{debug, error, info};

use super::Post;
use crate::journal::JournalError;

/// The history is shortened so often.
pub(super) const PRUNE_EVERY: Duration = Duration::from_hours(1);

impl Post {
    /// Writes decisions down: to be called before they are carried out.
    pub(in crate::respond) fn write(&mut self, decisions: &[Decision]) {
        if decisions.is_empty() {
            return;
        }
        if let Some(journal) = &mut self.journal {
            let result = journal.record(decisions);
            self.tell_journal(&result);
        }
    }

    /// Writes what waits, and shortens the history in small steps.
    pub(super) fn keep_journal(&mut self, now: Timestamp) {
        let Some(journal) = &mut self.journal else { return };
        let mut result = journal.flush();
        if result.is_ok() && now >= self.next_prune {
            match journal.prune(now, &self.settings.retention) {
                Ok(0) => self.next_prune = now + PRUNE_EVERY,
                Ok(pruned) => debug!("{pruned} entries of the history were deleted"),
                Err(why) => {
                    self.next_prune = now + PRUNE_EVERY;
                    result = Err(why);
                }
            }
        }
        self.tell_journal(&result);
    }

    /// A failing journal is told once, and once more when it works again.
    fn tell_journal(&mut self, result: &Result<(), JournalError>) {
        match result {
            Ok(()) if self.journal_fails => {
                self.journal_fails = false;
                info!("the journal is written again");
            }
            Err(why) if !self.journal_fails => {
                self.journal_fails = true;
                error!(
                    "{why}; what is decided is carried out all the same, and is written when that \
                     is possible"
                );
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Writes the last of it.
    pub(in crate::respond) fn close_journal(&mut self) {
        if let Some(mut journal) = self.journal.take()
            && let Err(why) = journal.flush()
        {
            error!("{why}");
        }
    }
}
