//! What is done about attacks: from the detector's events through planner and journal to actions
//! and announcers. One thread decides; nothing that it tells can hold it up.

pub mod settings;

pub use settings::{AnnouncerSettings, ExaBgpSettings, GoBgpSettings, Settings, Speaking};
