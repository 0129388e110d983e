//! Every record comes back from its frame, through the product's own dissector.

use proptest::prelude::*;
use tidewall_model::{Family, FlowRecord, Fragment, TcpFlags, Timestamp, protocol};
use tidewall_wire::frame::{Anomalies, FragmentKind, IpVersion, LinkType, TunnelPolicy, dissect};

use crate::{FrameRenderer, Generator, RenderError, Renderer, Scenario};

/// What of a record a frame can say.
pub(super) fn seen(record: &FlowRecord, frame: &[u8]) -> FlowRecord {
    let read = dissect(LinkType::ETHERNET, frame, &TunnelPolicy::default()).unwrap();
    FlowRecord {
        src: read.src,
        dst: read.dst,
        bytes: u64::from(read.ip_length),
        src_port: read.src_port,
        dst_port: read.dst_port,
        tcp_flags: TcpFlags(read.tcp_flags),
        vlan: read.vlan,
        family: match read.version {
            IpVersion::V4 => Family::V4,
            IpVersion::V6 => Family::V6,
        },
        protocol: read.protocol,
        ttl: read.ttl,
        fragment: match read.fragment {
            FragmentKind::Whole => Fragment::Whole,
            FragmentKind::First => Fragment::First,
            FragmentKind::Later => Fragment::Later,
        },
        ..*record
    }
}

/// A record whose fields all fit together: no ports where its protocol has none.
fn record() -> impl Strategy<Value = FlowRecord> {
    let protocols =
        prop_oneof![Just(1u8), Just(6), Just(17), Just(47), Just(50), Just(58), Just(132)];
    let ends = (any::<bool>(), any::<u128>(), any::<u128>(), any::<u16>(), any::<u16>());
    let rest = (any::<u16>(), 0..4096u16, any::<u8>(), any::<u64>(), 0..3u8, 0..1400u64);
    (ends, protocols, rest).prop_map(|((v6, src, dst, from, to), protocol, rest)| {
        let (flags, vlan, ttl, seq, piece, more) = rest;
        let (family, mask) =
            if v6 { (Family::V6, u128::MAX) } else { (Family::V4, u128::from(u32::MAX)) };
        let fragment = [Fragment::Whole, Fragment::First, Fragment::Later][usize::from(piece)];
        let mut record = FlowRecord {
            time: Timestamp(seq),
            seq,
            src: src & mask,
            dst: dst & mask,
            bytes: 68 + more,
            vlan,
            family,
            protocol,
            ttl,
            fragment,
            ..FlowRecord::default()
        };
        if fragment != Fragment::Later {
            if matches!(protocol, 6 | 17 | 132) {
                (record.src_port, record.dst_port) = (from, to);
            }
            if record.is_icmp() {
                record.dst_port = to;
            }
            if protocol == 6 {
                record.tcp_flags = TcpFlags(flags & 0x0fff);
            }
        }
        record
    })
}

proptest! {
    #[test]
    fn a_frame_dissects_to_its_record(record in record()) {
        let mut frame = Vec::new();
        FrameRenderer::new().frame(&record, &mut frame).unwrap();
        let tag = if record.vlan == 0 { 0 } else { 4 };
        prop_assert_eq!(frame.len() as u64, 14 + tag + record.bytes);
        prop_assert_eq!(seen(&record, &frame), record);
    }

    #[test]
    fn nothing_panics_and_what_is_written_dissects(
        mut record in record(), protocol: u8, bytes: u64, packets in 0..3u64,
    ) {
        (record.protocol, record.packets) = (protocol, packets);
        record.bytes = if bytes % 2 == 0 { bytes } else { bytes % 3000 };
        let mut frame = Vec::new();
        if FrameRenderer::new().frame(&record, &mut frame).is_ok() {
            let read = seen(&record, &frame);
            prop_assert_eq!((read.src, read.dst), (record.src, record.dst));
            prop_assert_eq!(read.bytes, record.bytes / packets);
            prop_assert_eq!(read.protocol, protocol);
        }
    }
}

#[test]
fn the_demo_renders_whole_and_without_oddities() {
    let scenario = Scenario::demo(std::time::Duration::from_secs(20), 3).unwrap();
    let mut renderer = FrameRenderer::new();
    let mut frame = Vec::new();
    let mut count = 0;
    for record in Generator::sampled(&scenario, tidewall_model::SamplingRate::new(50)) {
        let mut messages = 0;
        let mut sink = |time, bytes: &[u8]| {
            frame.clear();
            frame.extend_from_slice(bytes);
            assert_eq!(time, record.time);
            messages += 1;
        };
        renderer.render(&record, &mut sink).unwrap();
        assert_eq!(messages, 1);
        let read = seen(&record, &frame);
        assert_eq!(read, record);
        // What a GRE packet or a fragment carries is zeros, on purpose.
        if record.protocol != protocol::GRE && !record.fragment.is_fragment() {
            let read = dissect(LinkType::ETHERNET, &frame, &TunnelPolicy::default()).unwrap();
            assert_eq!(read.anomalies, Anomalies::default(), "{record:?}");
        }
        count += 1;
    }
    assert!(count > 10_000, "{count}");
    renderer.finish(&mut |_, _| panic!("a frame was held back"));
}

#[test]
fn what_is_no_packet_is_refused() {
    let good = FlowRecord { bytes: 40, protocol: 6, ..FlowRecord::default() };
    let refused =
        |record: FlowRecord| FrameRenderer::new().frame(&record, &mut Vec::new()).unwrap_err();
    FrameRenderer::new().frame(&good, &mut Vec::new()).unwrap();
    assert_eq!(refused(FlowRecord { packets: 0, ..good }), RenderError::NoPackets);
    assert_eq!(
        refused(FlowRecord { bytes: 39, ..good }),
        RenderError::TooShort { length: 39, least: 40, protocol: 6 }
    );
    let v6 = FlowRecord { family: Family::V6, protocol: 44, bytes: 500, ..good };
    assert_eq!(refused(v6), RenderError::Extension { protocol: 44 });
    assert!(matches!(refused(FlowRecord { bytes: 70_000, ..good }), RenderError::Emit(_)));
}
