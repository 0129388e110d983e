//! Lines of ExaBGP that are answers, and those that are not.

use super::*;

#[test]
fn only_answers_are_passed_on_and_long_lines_cost_nothing() {
    let long = "x".repeat(100_000);
    let text = format!("shutdown\n{long}\ndone\r\n{{ \"exabgp\": \"4.0.1\" }}\nerror\n{long}done");
    let (sender, events) = sync_channel(EVENTS);
    hear_exabgp(text.as_bytes(), &sender);
    drop(sender);
    let heard: Vec<&str> = events
        .into_iter()
        .map(|event| match event {
            Event::Answer(answer) => answer,
            Event::End => "end",
            _ => "other",
        })
        .collect();
    assert_eq!(heard, [DONE, ERROR, "end"]);
}

#[test]
fn lines_have_a_limit() {
    let mut input = BufReader::new(&b"four\nlonger than that\n\nend"[..]);
    let mut next = || line(&mut input, 5).unwrap();
    assert_eq!(next(), Heard::Line("four".to_owned()));
    assert_eq!(next(), Heard::Noise);
    assert_eq!(next(), Heard::Line(String::new()));
    assert_eq!(next(), Heard::Noise, "cut by the end");
    assert_eq!(next(), Heard::End);
}

/// An answer that comes late belongs to the line of the connection before.
#[test]
fn a_late_answer_is_not_taken_for_the_next() {
    let (sender, events) = sync_channel(EVENTS);
    let output = Vec::new();
    let said = String::new();
    let mut helper = Helper { events, sender, output, stale: 1, connections: 1, said };
    let mut asked = 2;
    assert_eq!(helper.owed(DONE, &mut asked), None);
    assert_eq!(asked, 2);
    assert_eq!(helper.owed(ERROR, &mut asked), Some(ERROR));
    assert_eq!(helper.owed(DONE, &mut asked), Some(DONE));
    assert_eq!(helper.owed(DONE, &mut asked), None, "nothing is asked");
}
