//! Captures of attacks: at each ban the frames of its target that came shortly before, and those
//! that follow, for the attack files. Nobody waits for them: they come as an event of their own.

use std::sync::Arc;
use std::time::Duration;

use tidewall_actions::{ActionEvent, ActionKind, CapturedFrame, Config};
use tidewall_model::Timestamp;

use crate::live::frames::{Following, FrameTap, MOST_FOLLOWED, MOST_FRAMES};

/// Frames from before the ban at most; the rest of the capture follows it.
const MOST_BEFORE: usize = MOST_FRAMES / 2;
/// The start of an attack is known to a slice only.
const EARLIER: Duration = Duration::from_secs(1);
/// What follows is waited for so long.
const FOLLOWS: Duration = Duration::from_secs(10);

/// Captures that go on.
#[derive(Debug)]
pub(super) struct Captures {
    tap: Arc<FrameTap>,
    list: Vec<Capture>,
}

#[derive(Debug)]
struct Capture {
    /// The ban.
    event: Arc<ActionEvent>,
    before: Vec<CapturedFrame>,
    following: Following,
}

impl Captures {
    /// None yet.
    pub(super) fn new(tap: Arc<FrameTap>) -> Self {
        Self { tap, list: Vec::new() }
    }

    /// Keeps frames if one of these actions writes them.
    pub(super) fn enable_for(&self, actions: &[Config]) {
        let on = actions.iter().any(writes_frames);
        if on != self.tap.is_enabled() {
            self.tap.enable(on);
        }
    }

    /// Begins one for a ban.
    pub(super) fn begin(&mut self, event: &Arc<ActionEvent>, now: Timestamp) {
        if !self.tap.is_enabled() || self.list.len() >= MOST_FOLLOWED {
            return;
        }
        let attack = &event.attack;
        let (target, direction) = (&attack.target, attack.direction);
        let before = self.tap.before(target, direction, attack.started - EARLIER, MOST_BEFORE);
        let most = MOST_FRAMES - before.len();
        let following = self.tap.follow(target, direction, most, now + FOLLOWS);
        self.list.push(Capture { event: Arc::clone(event), before, following });
    }

    /// Those that have ended, each as an event with its frames.
    pub(super) fn ended(&mut self, now: Timestamp) -> Vec<Arc<ActionEvent>> {
        let ended = self.list.extract_if(.., |capture| capture.following.is_complete(now));
        ended.filter_map(|capture| capture.into_event(now)).collect()
    }
}

impl Capture {
    fn into_event(self, now: Timestamp) -> Option<Arc<ActionEvent>> {
        let mut frames = self.before;
        frames.append(&mut self.following.take());
        let event = ActionEvent {
            kind: ActionKind::Updated,
            time: now,
            frames,
            ..self.event.as_ref().clone()
        };
        (!event.frames.is_empty()).then(|| Arc::new(event))
    }
}

/// Does this action write the frames of attacks?
pub(super) const fn writes_frames(action: &Config) -> bool {
    matches!(action, Config::Record(record) if record.pcap)
}
