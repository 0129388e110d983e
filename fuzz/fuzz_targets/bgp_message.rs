//! BGP messages as a peer sends them, one behind the other: no panic, and what is read is written
//! to something that is read as the same. The first byte chooses what was agreed on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewall_bgp::message::{MAX_EXTENDED_MESSAGE, Message, RawMessage};
use tidewall_bgp::update::{Update, UpdateContext};

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut rest)) = data.split_first() else { return };
    let context = UpdateContext { four_octet_as: choice & 1 != 0, internal: choice & 2 != 0 };
    while let Ok(Some(raw)) = RawMessage::parse(rest, MAX_EXTENDED_MESSAGE) {
        assert!(raw.length >= 19 && raw.length <= rest.len());
        rest = &rest[raw.length..];
        let mut again = Vec::new();
        match raw.message() {
            Ok(Message::Open(open)) => {
                open.encode(&mut again);
                let raw = RawMessage::parse(&again, MAX_EXTENDED_MESSAGE).unwrap().unwrap();
                assert_eq!(raw.message(), Ok(Message::Open(open)));
            }
            Ok(Message::Notification(notification)) => {
                assert!(!notification.to_string().contains(char::is_control));
                notification.encode(&mut again);
                assert!(again.len() <= raw.length);
            }
            Ok(Message::RouteRefresh(refresh)) => refresh.encode(&mut again),
            Ok(Message::Update(body)) => read_update(body, context),
            Ok(Message::Keepalive) | Err(_) => {}
        }
    }
});

fn read_update(body: &[u8], context: UpdateContext) {
    let Ok(update) = Update::parse(body, context) else { return };
    assert!(update.routes().count() <= body.len());
    for (_, nlri) in update.routes() {
        let Ok(nlri) = nlri else { continue };
        assert!(!nlri.to_string().is_empty());
        let mut octets = Vec::new();
        nlri.encode(&mut octets);
        assert_eq!(tidewall_bgp::Nlri::list(nlri.family(), &octets).next(), Some(Ok(nlri)));
    }
    if update.treat_as_withdraw.is_some() || !context.four_octet_as {
        return;
    }
    // Attributes alone, as an UPDATE of their own.
    let mut block = Vec::new();
    update.attributes.encode(true, &mut block);
    let Ok(length) = u16::try_from(block.len()) else { return };
    let alone = [&[0, 0], &length.to_be_bytes()[..], &block].concat();
    let again = Update::parse(&alone, context).unwrap();
    assert_eq!(again.treat_as_withdraw, None);
    let (mut first, mut second) = (update.attributes, again.attributes);
    first.others.sort_by_key(|other| other.kind);
    second.others.sort_by_key(|other| other.kind);
    assert_eq!(first, second);
}
