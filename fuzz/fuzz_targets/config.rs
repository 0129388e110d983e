//! Configuration files: any text gives a policy or an explanation.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewall::config::{self, Style};

fuzz_target!(|text: &str| {
    if let Err(errors) = config::parse("fuzz.toml", text) {
        assert!(!errors.render(Style::Plain).is_empty(), "an error without a word");
    }
});
