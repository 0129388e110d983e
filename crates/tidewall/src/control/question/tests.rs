use super::*;
use serde_json::{from_str, to_string};

fn error(line: &str) -> String {
    from_str::<Question>(line).unwrap_err().to_string()
}

#[test]
fn what_is_left_out_has_its_default() {
    let ban: Question = from_str(r#"{"ask":"ban","target":"2001:db8::7"}"#).unwrap();
    let expected = Question::Ban {
        target: "2001:db8::7/128".parse().unwrap(),
        kind: BanKind::Notify,
        direction: Direction::Incoming,
        seconds: None,
        why: String::new(),
    };
    assert_eq!(ban, expected);
    let history: Question = from_str(r#"{"ask":"history","since":null,"target":null}"#).unwrap();
    assert_eq!(history, Question::History { since: None, target: None, limit: 100 });
    let routes: Question = from_str(r#"{"ask":"bgp_routes"}"#).unwrap();
    assert_eq!(routes, Question::BgpRoutes { peer: None, flowspec: false });
}

#[test]
fn every_question_is_read_back_as_it_was_written() {
    let target = "192.0.2.0/24".parse().unwrap();
    let why = "\"\\é".repeat(170);
    let questions = [
        Question::Ban {
            target,
            kind: BanKind::Divert,
            direction: Direction::Outgoing,
            seconds: Some(u64::MAX),
            why: why.clone(),
        },
        Question::Unban { target, why: why.clone() },
        Question::Approve { id: 7 },
        Question::Bans,
        Question::Panic { why: why.clone() },
        Question::Resume { why },
        Question::History {
            since: Some(Timestamp::from_parts(1_795_257_000, 5_000)),
            target: Some(target),
            limit: 3,
        },
        Question::Actions,
        Question::BgpPeers,
        Question::BgpRoutes { peer: Some("upstream".to_owned()), flowspec: true },
    ];
    for question in questions {
        let line = to_string(&question).unwrap();
        assert!(line.len() < 4096 && line.contains(question.name()), "{line}");
        assert_eq!(from_str::<Question>(&line).unwrap(), question);
    }
}

#[test]
fn wrong_values_are_named_with_the_fix() {
    for (line, said) in [
        (
            r#"{"ask":"ban","target":"192.0.2.7/24"}"#,
            "`192.0.2.7/24` has host bits set; did you mean 192.0.2.0/24?",
        ),
        (
            r#"{"ask":"unban","target":"::ffff:192.0.2.7"}"#,
            "`::ffff:192.0.2.7` is IPv4 written as IPv6; did you mean 192.0.2.7?",
        ),
        (r#"{"ask":"history","target":"::ffff:192.0.2.0/120"}"#, "did you mean 192.0.2.0/24?"),
        (r#"{"ask":"ban","target":"example.net"}"#, "`example.net` is not an IPv4 or IPv6"),
        (r#"{"ask":"ban","target":"192.0.2.7","seconds":0}"#, "`seconds` is at least 1"),
        (r#"{"ask":"ban","target":"192.0.2.7","direction":"other"}"#, "not other"),
        (r#"{"ask":"ban","target":"192.0.2.7","kind":"flow_spec"}"#, "unknown variant"),
        (r#"{"ask":"ban","target":"192.0.2.7","who":"root"}"#, "unknown field `who`"),
        (r#"{"ask":"panic","why":"a\nb"}"#, "one line of text"),
        (r#"{"ask":"history","limit":10001}"#, "`limit` is 1 to 10000, not 10001"),
        (r#"{"ask":"history","since":"yesterday"}"#, "expected a time such as"),
    ] {
        assert!(error(line).contains(said), "{line}: {}", error(line));
    }
    let long = format!(r#"{{"ask":"resume","why":"{}"}}"#, "é".repeat(513));
    assert!(error(&long).contains("512 characters at the most, not 513"));
}

#[test]
fn wrong_types_are_refused() {
    for fields in [
        r#""target":7"#,
        r#""target":null"#,
        r#""target":["192.0.2.7"]"#,
        r#""target":"192.0.2.7","seconds":-1"#,
        r#""target":"192.0.2.7","seconds":1.5"#,
        r#""target":"192.0.2.7","seconds":"60""#,
        r#""target":"192.0.2.7","why":{}"#,
        r#""target":"192.0.2.7","target":"192.0.2.8""#,
        r#""kind":"notify""#,
    ] {
        error(&format!(r#"{{"ask":"ban",{fields}}}"#));
    }
    error(r#"{"ask":"approve","id":-7}"#);
    error(r#"{"ask":"approve"}"#);
}

#[test]
fn the_log_tells_what_was_asked() {
    for (line, said) in [
        (
            r#"{"ask":"ban","target":"192.0.2.7","kind":"blackhole","seconds":60,"why":"x"}"#,
            "ban 192.0.2.7 blackhole incoming for 60 s: x",
        ),
        (
            r#"{"ask":"ban","target":"192.0.2.0/24","direction":"outgoing"}"#,
            "ban 192.0.2.0/24 notify outgoing",
        ),
        (r#"{"ask":"unban","target":"192.0.2.7","why":"over"}"#, "unban 192.0.2.7: over"),
        (r#"{"ask":"approve","id":7}"#, "approve 7"),
        (r#"{"ask":"panic"}"#, "panic"),
    ] {
        let question: Question = from_str(line).unwrap();
        assert_eq!(question.to_string(), said);
        assert!(question.changes());
    }
}
