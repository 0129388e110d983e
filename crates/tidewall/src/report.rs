//! Reports: what a replay found, and what a running service answers; text for people, JSON for
//! programs.

pub mod answers;
mod filters;
mod json;
mod number;
mod text;

pub use json::{attack_json, to_json};
pub use text::{attack_line, class_words, to_text};
