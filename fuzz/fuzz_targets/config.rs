//! Configuration files: any text gives a policy or an explanation.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = tidewall::config::parse("fuzz.toml", text) {
        assert!(!errors.to_string().is_empty(), "an error without a word");
    }
});
