//! What holds for every frame, cut anywhere, and for any bytes at all.

use proptest::prelude::*;

use super::*;

fn identity(frame: &Frame) -> (IpVersion, u128, u128) {
    (frame.version, frame.src, frame.dst)
}

/// Fields that a prefix gives must be the full frame's or not known yet.
fn assert_not_invented(cut: &Frame, full: &Frame, name: &str, length: usize) {
    let about = || format!("{name} cut to {length}");
    assert_eq!(identity(cut), identity(full), "{}", about());
    assert_eq!((cut.ttl, cut.ip_length), (full.ttl, full.ip_length), "{}", about());
    assert_eq!((cut.vlan, cut.inner_vlan), (full.vlan, full.inner_vlan), "{}", about());
    for (got, want) in [
        (cut.src_port, full.src_port),
        (cut.dst_port, full.dst_port),
        (cut.tcp_flags, full.tcp_flags),
    ] {
        assert!(got == 0 || got == want, "{}: {got} is not {want}", about());
    }
}

#[test]
fn a_frame_cut_anywhere_gives_what_is_there_and_nothing_else() {
    for vector in all_vectors() {
        let full = dissect(vector.link, &vector.data, &TunnelPolicy::OUTER).unwrap();
        let inner = dissect(vector.link, &vector.data, &TunnelPolicy::INNER).unwrap();
        let fixed = if full.version == IpVersion::V4 { 20 } else { 40 };
        let addresses_end = full.ip_offset as usize + fixed;
        for length in 0..vector.data.len() {
            let data = &vector.data[..length];
            match dissect(vector.link, data, &TunnelPolicy::OUTER) {
                Ok(cut) => assert_not_invented(&cut, &full, &vector.name, length),
                Err(error) => {
                    assert!(length < addresses_end, "{} cut to {length}: {error}", vector.name);
                }
            }
            if let Ok(cut) = dissect(vector.link, data, &TunnelPolicy::INNER) {
                let reached = if cut.tunnels == inner.tunnels { &inner } else { &full };
                assert_not_invented(&cut, reached, &vector.name, length);
            }
        }
    }
}

#[test]
fn ipv4_addresses_are_given_as_soon_as_they_are_there() {
    let data = ethernet(0x0800, &outer_v4(6, &tcp_syn()));
    for length in 34..data.len() {
        let frame = outer(&data[..length]).unwrap();
        assert_eq!(frame.dst_port, if length >= 38 { 80 } else { 0 });
        assert_eq!(frame.tcp_flags, if length >= 48 { 2 } else { 0 });
        assert_eq!(frame.anomalies.has(Anomalies::TRANSPORT_CUT), length < 54);
    }
}

/// What an error says must be true of the frame, and what a frame says must lie inside it.
fn assert_consistent(data: &[u8], result: Result<Frame, FrameError>) -> Result<(), TestCaseError> {
    match result {
        Ok(frame) => {
            prop_assert!(frame.transport_offset as usize <= data.len());
            prop_assert!(frame.ip_offset < frame.transport_offset || !frame.anomalies.is_empty());
            prop_assert!(frame.vlan < 4096 && frame.vlan_tags <= MAX_TAGS);
            prop_assert!(frame.mpls_labels <= MAX_LABELS && frame.tunnels.depth() <= MAX_DEPTH);
            prop_assert_eq!(frame.tunnels.kinds().count(), usize::from(frame.tunnels.depth()));
            prop_assert!(frame.tcp_flags < 0x1000);
        }
        Err(FrameError::LinkHeaderCut(cut) | FrameError::IpHeaderCut(cut)) => {
            prop_assert!(cut.available < cut.needed);
            prop_assert!((cut.offset + cut.available) as usize <= data.len());
        }
        Err(
            FrameError::TooManyTags { offset, .. }
            | FrameError::IpVersion { offset, .. }
            | FrameError::IpHeaderLength { offset, .. },
        ) => prop_assert!(offset as usize <= data.len()),
        Err(FrameError::NotIp(_) | FrameError::UnknownLinkType(_)) => {}
    }
    Ok(())
}

/// The quick way and the general one must not differ in a bit.
fn assert_same_both_ways(data: &[u8]) -> Result<(), TestCaseError> {
    for policy in [TunnelPolicy::OUTER, TunnelPolicy::INNER] {
        prop_assert_eq!(
            dissect(LinkType::ETHERNET, data, &policy),
            dissect_any(LinkType::ETHERNET, data, policy)
        );
    }
    Ok(())
}

fn changed_vector() -> impl Strategy<Value = (LinkType, Vec<u8>)> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let vectors: Vec<(LinkType, Vec<u8>)> =
        all_vectors().into_iter().map(|vector| (vector.link, vector.data)).collect();
    (prop::sample::select(vectors), changes, any::<prop::sample::Index>()).prop_map(
        |((link, mut data), changes, end)| {
            for (at, value) in changes {
                let at = at.index(data.len());
                data[at] = value;
            }
            data.truncate(data.len() - end.index(data.len() + 1) / 4);
            (link, data)
        },
    )
}

proptest! {
    #![proptest_config(seeded(2_000))]

    #[test]
    fn any_bytes_at_any_link_type(data in prop::collection::vec(any::<u8>(), 0..160)) {
        for link in LinkType::SUPPORTED {
            for policy in [TunnelPolicy::OUTER, TunnelPolicy::INNER] {
                assert_consistent(&data, dissect(*link, &data, &policy))?;
            }
        }
        assert_same_both_ways(&data)?;
    }

    #[test]
    fn changed_frames((link, data) in changed_vector()) {
        for policy in [TunnelPolicy::OUTER, TunnelPolicy::INNER] {
            assert_consistent(&data, dissect(link, &data, &policy))?;
        }
        assert_same_both_ways(&data)?;
    }
}
