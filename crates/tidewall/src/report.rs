//! The report of a replay: text for people, one JSON object for programs.

mod json;
mod number;
mod text;

pub use json::to_json;
pub use text::{class_words, to_text};
