//! What the planner says: every difference between what was wanted before and what is wanted now,
//! with its reason. A decision is written down before it is carried out.

use serde::Serialize;
use tidewall_model::{
    Direction, Mitigation, MitigationCommand, MitigationId, MitigationKind, Target, Timestamp,
};

use super::rails::Refusal;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When it was made.
    pub time: Timestamp,
    /// What was decided.
    pub what: Decided,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Something about a mitigation, and the mitigation as it is from now on.
    Mitigation(Change, Box<Mitigation>),
    /// A mitigation was wanted and may not be.
    Refused(Box<Refused>),
    /// Everything was withdrawn, and nothing is done until somebody resumes.
    Held {
        /// Who pulled the brake.
        who: String,
    },
    /// The planner works again.
    Resumed {
        /// Who let it go.
        who: String,
    },
    /// A victim's ban has ended, which its next one is to know.
    Remembered(Box<Victim>),
    /// What was remembered of a victim is not needed any more.
    Forgotten {
        /// Whose bans.
        target: Target,
        /// Direction of the traffic.
        direction: Direction,
    },
}

/// A victim that had bans: a further one lasts longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Whose bans.
    pub target: Target,
    /// Direction of the traffic.
    pub direction: Direction,
    /// Host group.
    pub group: String,
    /// Bans that ended, each within the time of repeat victims after the one before.
    pub bans: u32,
    /// From then on nothing was to be done for it.
    pub since: Timestamp,
}

/// What changes about a mitigation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is put up.
    Apply,
    /// It waits until a person agrees.
    Ask,
    /// A person agreed, and it is put up.
    Approve {
        /// Who agreed.
        who: String,
    },
    /// Its causes, its end or its status are new.
    Update,
    /// It is taken down.
    Withdraw(End),
    /// Nothing is left of it.
    Gone(End),
}

/// Why a mitigation ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its time is over.
    Expired,
    /// The attack is over, and can be seen to be.
    AttackOver,
    /// The next step of the ladder took its place.
    Replaced,
    /// A person ended it.
    Operator {
        /// Who.
        who: String,
        /// What was said about it.
        why: String,
    },
    /// Everything was withdrawn at once.
    Panic {
        /// Who pulled the brake.
        who: String,
    },
    /// The policy does not want it any more.
    Policy,
    /// The rails do not allow it any more.
    NotAllowed(Refusal),
    /// The same is put up again before its end was confirmed.
    Superseded,
    /// It was being withdrawn when the program stopped.
    Restart,
    /// The action says that nothing is left.
    Confirmed,
}

/// A mitigation that may not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose mitigation.
    pub target: Target,
    /// Direction of the traffic.
    pub direction: Direction,
    /// Host group.
    pub group: String,
    /// What was wanted.
    pub kind: MitigationKind,
    /// Why it may not be.
    pub why: Refusal,
}

/// What a decision leaves behind: a journal that carries this out knows what was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The mitigation is as given from now on.
    Keep(&'a Mitigation),
    /// Nothing is left of the mitigation.
    Forget(MitigationId),
    /// The brake is pulled by somebody, or it is not.
    Hold(Option<&'a str>),
    /// The victim has had these bans.
    Remember(&'a Victim),
    /// The victim is one like others again.
    ForgetVictim(&'a Target, Direction),
    /// Nothing that must outlive a restart.
    Nothing,
}

impl Decision {
    /// What it leaves behind.
    pub fn effect(&self) -> Effect<'_> {
        match &self.what {
            Decided::Mitigation(_, mitigation) if mitigation.dry_run => Effect::Nothing,
            Decided::Mitigation(Change::Gone(_), mitigation) => Effect::Forget(mitigation.id),
            Decided::Mitigation(_, mitigation) => Effect::Keep(mitigation),
            Decided::Refused(_) => Effect::Nothing,
            Decided::Held { who } => Effect::Hold(Some(who)),
            Decided::Resumed { .. } => Effect::Hold(None),
            Decided::Remembered(victim) => Effect::Remember(victim),
            Decided::Forgotten { target, direction } => Effect::ForgetVictim(target, *direction),
        }
    }

    /// What actions are told, if anything.
    pub fn command(&self) -> Option<MitigationCommand> {
        let Decided::Mitigation(change, mitigation) = &self.what else { return None };
        if mitigation.dry_run {
            return None;
        }
        match change {
            Change::Apply | Change::Approve { .. } => {
                Some(MitigationCommand::Apply((**mitigation).clone()))
            }
            Change::Withdraw(_) => Some(MitigationCommand::Withdraw((**mitigation).clone())),
            Change::Ask | Change::Update | Change::Gone(_) => None,
        }
    }
}
