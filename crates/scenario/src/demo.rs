//! The built-in scenario of `tidewall demo`: a day and its attacks in a minute.

use std::time::Duration;

use crate::file::ScenarioError;
use crate::plan::Scenario;

/// Shorter than this, attacks would be over before their evidence is in.
const SHORTEST: Duration = Duration::from_secs(20);

impl Scenario {
    /// The demo, told in so much time (at least 20 s; it is written for 60).
    pub fn demo(duration: Duration, seed: u64) -> Result<Self, ScenarioError> {
        let mut scenario = Self::parse(include_str!("demo.toml"))?;
        scenario.seed = seed;
        Ok(scenario.stretched_to(duration.max(SHORTEST)))
    }
}

#[cfg(test)]
mod tests;
