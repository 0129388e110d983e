//! Clients that send anything: every line is answered or the client is left, and nothing hangs.

use std::io::{BufRead, Read, Write};
use std::net::Shutdown;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRng, TestRunner};
use serde_json::Value;
use tidewall::control::Question;

use super::{Desk, Fake};

static QUESTIONS: [&str; 8] = [
    r#"{"ask":"ban","target":"192.0.2.7","kind":"blackhole","direction":"outgoing","seconds":9}"#,
    r#"{"ask":"unban","target":"2001:db8::7","why":"over"}"#,
    r#"{"ask":"approve","id":7}"#,
    r#"{"ask":"bans"}"#,
    r#"{"ask":"panic","why":"x"}"#,
    r#"{"ask":"history","since":"2026-11-20T00:00:00Z","target":null,"limit":5}"#,
    r#"{"ask":"bgp_routes","peer":"upstream","flowspec":true}"#,
    r#"{"ask":"hosts","top":3}"#,
];

/// A line of any bytes, a question with some bytes of it changed, or one cut short.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let question = || proptest::sample::select(&QUESTIONS[..]);
    let changes =
        || proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4);
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        (question(), changes()).prop_map(|(question, changes)| {
            let mut bytes = question.as_bytes().to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        }),
        (question(), any::<proptest::sample::Index>())
            .prop_map(|(question, at)| question.as_bytes()[..at.index(question.len())].to_vec()),
    ]
    .prop_map(|mut bytes| {
        // One line, and not one that only spaces are in: that would be the next one's beginning.
        bytes.retain(|byte| *byte != b'\n');
        bytes
    })
}

fn runner(seed: u8) -> TestRunner {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    TestRunner::new_with_rng(Config::default(), rng)
}

proptest! {
    #![proptest_config(Config {
        cases: 100_000,
        rng_seed: RngSeed::Fixed(0x7477_6374),
        failure_persistence: None,
        ..Config::default()
    })]

    #[test]
    fn what_is_understood_can_be_said_again(line in line()) {
        if let Ok(question) = serde_json::from_slice::<Question>(&line) {
            let again = serde_json::to_vec(&question).unwrap();
            prop_assert!(again.len() < 4096);
            prop_assert_eq!(serde_json::from_slice::<Question>(&again).unwrap(), question.clone());
            prop_assert!(!question.to_string().contains(char::is_control));
        }
    }
}

#[test]
fn every_line_of_noise_has_its_answer() {
    let desk = Desk::new(Fake::default());
    let (mut runner, strategy) = (runner(7), line());
    let mut refused = 0;
    for _ in 0..100 {
        let lines: Vec<Vec<u8>> =
            (0..100).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
        let (mut stream, mut answers) = desk.connect();
        let noise: Vec<u8> =
            lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
        let writer = std::thread::spawn(move || {
            stream.write_all(&noise).unwrap();
            stream
        });
        for line in &lines {
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let understood = serde_json::from_slice::<Question>(line).is_ok();
            assert_eq!(answer["ok"], understood, "{:?}: {answer}", String::from_utf8_lossy(line));
            refused += u32::from(!understood);
        }
        drop(writer.join().unwrap());
    }
    assert!((5_000..10_000).contains(&refused), "{refused}");
}

#[test]
fn a_line_that_is_too_long_ends_the_conversation() {
    let desk = Desk::new(Fake::default());
    for length in [4095, 4096, 100_000] {
        let (mut stream, mut answers) = desk.connect();
        // The server hangs up before it has read everything.
        _ = stream.write_all(&vec![b' '; length]);
        _ = stream.write_all(b"\n");
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.contains("4095 bytes at the most"), "{length}: {answer}");
        _ = answers.read_to_string(&mut answer);
        assert_eq!(answer.lines().count(), 1, "{answer}");
    }
    let longest =
        format!("{}{}", " ".repeat(4094 - r#"{"ask":"bans"}"#.len()), r#"{"ask":"bans"}"#);
    assert_eq!(desk.ask(&longest)["ok"], true);
}

#[test]
fn half_a_line_does_nothing() {
    let desk = Desk::new(Fake::default());
    for half in [r#"{"ask":"panic""#, r#"{"ask":"ban","target":"192.0.2.0/2"#, "{", "\u{0}"] {
        let (mut stream, mut answers) = desk.connect();
        stream.write_all(half.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        answers.read_to_string(&mut said).unwrap();
        assert!(said.starts_with(r#"{"ok":false"#), "{half}: {said}");
    }
    // One that stays away in the middle of its line holds up nobody.
    let waiting = desk.connect();
    (&waiting.0).write_all(b"{\"ask\":\"pan").unwrap();
    assert_eq!(desk.ask(r#"{"ask":"bans"}"#)["ok"], true);
    assert!(desk.asked().iter().all(|(question, _)| *question == Question::Bans));
}

#[test]
fn wrong_fields_are_named() {
    let desk = Desk::new(Fake::default());
    for (line, reason) in [
        (r#"{"ask":"ban","target":"192.0.2.7/24"}"#, "did you mean 192.0.2.0/24?"),
        (r#"{"ask":"ban","target":"192.0.2.7","seconds":0}"#, "`seconds` is at least 1"),
        (r#"{"ask":"ban","target":"192.0.2.7","uid":0}"#, "unknown field `uid`"),
        (r#"{"ask":"ban","target":7}"#, "expected a string"),
        (r#"{"ask":"ban"}"#, "missing field `target`"),
        (r#"{"ask":"approve","id":"7"}"#, "expected u64"),
        (r#"{"ask":"everything"}"#, "unknown variant `everything`"),
        ("[[[[", "EOF while parsing"),
        ("", "EOF while parsing"),
    ] {
        let answer = desk.ask(line);
        assert_eq!(answer["ok"], false, "{line}");
        assert!(answer["error"].as_str().unwrap().contains(reason), "{line}: {answer}");
    }
    let deep = desk.ask(&format!("{}{}", r#"{"ask":"ban","target":"#, "[".repeat(4000)));
    assert_eq!(deep["ok"], false);
    assert!(desk.asked().is_empty());
    // What the socket does not judge, the rails do.
    assert_eq!(desk.ask(r#"{"ask":"ban","target":"0.0.0.0/0"}"#)["ok"], true);
}
