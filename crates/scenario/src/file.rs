//! Scenario files: the TOML as it is typed, checked and turned into a [`Scenario`]. Unknown keys
//! and values that make no sense are refused, with the place and the reason.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use crate::plan::Scenario;

mod check;
#[cfg(test)]
mod tests;

/// Monday 2026-01-05 00:00:00 UTC: when scenarios begin that do not say when.
const START: u64 = 1_767_571_200;
/// Why a text is not a scenario.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ScenarioError {
    /// Not TOML, a key that does not exist, or a value of the wrong type.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A value that makes no sense.
    #[error("{place}: `{key}`: {reason}")]
    Invalid {
        /// Which table, with the attack's name.
        place: String,
        /// Which key of it.
        key: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

impl Scenario {
    /// Reads a scenario from the text of a TOML file.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let typed: File = toml::from_str(text)?;
        typed.check()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default)]
    seed: u64,
    #[serde(default = "default_start")]
    start_unix_s: u64,
    duration_s: f64,
    networks: Vec<String>,
    background: Option<TypedBackground>,
    #[serde(default)]
    attacks: Vec<TypedAttack>,
    #[serde(default)]
    limits: TypedLimits,
    #[serde(default)]
    expect: Vec<TypedExpectation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TypedBackground {
    hosts: u32,
    pps: f64,
    ipv6: f64,
    outgoing: f64,
    swing: f64,
    day_s: Option<f64>,
    noise: f64,
    mix: TypedMix,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedMix {
    tcp: f64,
    udp: f64,
    icmp: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedAttack {
    name: String,
    kind: Kind,
    service: Option<String>,
    protocol: Option<u8>,
    target: String,
    #[serde(default)]
    direction: TypedDirection,
    start_s: f64,
    duration_s: f64,
    pps: Option<f64>,
    times: Option<f64>,
    #[serde(default)]
    ramp_s: f64,
    pulse: Option<TypedPulse>,
    #[serde(default)]
    sources: u32,
    #[serde(default)]
    source_prefixes: Vec<String>,
    length: Option<Length>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    #[serde(default)]
    fragments: f64,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    SynFlood,
    AckFlood,
    RstFlood,
    TcpFlood,
    SynAckReflection,
    UdpFlood,
    UdpReflection,
    FragmentFlood,
    IcmpFlood,
    GreFlood,
    ProtocolFlood,
    FlashCrowd,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TypedDirection {
    #[default]
    Incoming,
    Outgoing,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedPulse {
    on_s: f64,
    off_s: f64,
}

/// One length, or the shortest and the longest.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "a packet length in bytes, or [shortest, longest]")]
enum Length {
    One(u16),
    Range(u16, u16),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TypedLimits {
    host: Option<BTreeMap<String, f64>>,
    network: BTreeMap<String, BTreeMap<String, f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedExpectation {
    attack: String,
    target: Option<String>,
    group: Option<String>,
    class: Option<Classes>,
    within_ms: u64,
}

/// One class, or several that fit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "the name of an attack class, or a list of names")]
enum Classes {
    One(String),
    Several(Vec<String>),
}

impl Default for TypedBackground {
    fn default() -> Self {
        Self {
            hosts: 500,
            pps: 5_000.0,
            ipv6: 0.0,
            outgoing: 0.45,
            swing: 0.3,
            day_s: None,
            noise: 0.05,
            mix: TypedMix { tcp: 0.72, udp: 0.24, icmp: 0.02 },
        }
    }
}

fn default_start() -> u64 {
    START
}
