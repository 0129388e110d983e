//! Where FastNetMon receives from, as our listeners and mirrors.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use tidewall_capture::af_packet::{AfPacketConfig, Fanout, FanoutMode};
use tidewall_capture::af_xdp::{AfXdpConfig, CopyMode, XdpMode};
use tidewall_capture::pcap_live::PcapConfig;
use tidewall_collect::Protocols;
use tidewall_model::SamplingRate;

use super::super::{Flows, Listen, Mirror, MirrorSource};
use super::Reference;

/// Where OpenVZ's kernel lists the addresses of containers.
const OPENVZ_ADDRESSES: &str = "/proc/vz/veip";

impl Reference {
    /// The list of containers' addresses, where they are ours.
    pub(super) fn openvz_addresses(&self) -> Option<PathBuf> {
        self.switch("monitor_openvz_vps_ip_addresses").then(|| OPENVZ_ADDRESSES.into())
    }

    /// Where datagrams are waited for. An engine that is off listens nowhere.
    pub(super) fn listen(&self) -> Listen {
        let addresses = |switch, host, ports| {
            // Without an address that can be read nothing is listened on.
            let host = self.listen_host(host).filter(|_| self.switch(switch));
            let ports = host.into_iter().flat_map(|host| {
                self.ports(ports).into_iter().map(move |port| SocketAddr::new(host, port))
            });
            ports.collect()
        };
        Listen {
            sflow: addresses("sflow", "sflow_host", "sflow_port"),
            netflow: addresses("netflow", "netflow_host", "netflow_port"),
            ..Listen::default()
        }
    }

    /// The address that an engine listens on; no text is all IPv4 addresses, as in FastNetMon.
    pub(super) fn listen_host(&self, key: &str) -> Option<IpAddr> {
        match self.text(key) {
            "" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            text => text.parse().ok(),
        }
    }

    /// How datagrams are read.
    pub(super) fn flows(&self) -> Flows {
        let mut flows = Flows::default();
        if let Some(rate) = self.netflow_fallback() {
            flows.sampling.set_fallback(SamplingRate::new(rate), Protocols::WITH_TEMPLATES);
        }
        flows
    }

    /// The rate of exporters of NetFlow v9 and IPFIX that announce none: of no others.
    pub(super) fn netflow_fallback(&self) -> Option<u32> {
        let ratio = self.number("netflow_sampling_ratio") as u32;
        (ratio > 1).then_some(ratio)
    }

    /// Where frames are taken from.
    pub(super) fn mirrors(&self) -> Vec<Mirror> {
        let mut mirrors = Vec::new();
        let interfaces = self.list("interfaces");
        if self.switch("mirror_afpacket") {
            let mode = match self.text("mirror_af_packet_fanout_mode") {
                "hash" => FanoutMode::Hash,
                "lb" => FanoutMode::RoundRobin,
                "rollover" => FanoutMode::Rollover,
                "queue_mapping" | "qm" => FanoutMode::QueueMapping,
                "random" | "rnd" => FanoutMode::Random,
                _ => FanoutMode::Cpu,
            };
            let rate = self.number("mirror_af_packet_custom_sampling_rate").max(1.0) as u32;
            mirrors.extend(interfaces.iter().map(|interface| Mirror {
                source: MirrorSource::AfPacket(AfPacketConfig {
                    fanout: Fanout { mode, ..Fanout::default() },
                    ..AfPacketConfig::new(*interface)
                }),
                workers: 1,
                sampling: SamplingRate::new(rate),
            }));
        }
        if self.switch("mirror_afxdp") {
            let mode =
                if self.switch("force_native_mode_xdp") { XdpMode::Native } else { XdpMode::Auto };
            let copy =
                if self.switch("zero_copy_xdp") { CopyMode::ZeroCopy } else { CopyMode::Auto };
            mirrors.extend(interfaces.iter().map(|interface| Mirror {
                source: MirrorSource::AfXdp(AfXdpConfig {
                    mode,
                    copy,
                    promiscuous: self.switch("xdp_set_promisc"),
                    ..AfXdpConfig::new(*interface)
                }),
                workers: 1,
                sampling: SamplingRate::ONE,
            }));
        }
        if self.switch("mirror_netmap") {
            let rate = self.number("netmap_sampling_ratio").max(1.0) as u32;
            mirrors.extend(
                interfaces
                    .iter()
                    .map(|interface| pcap(&format!("netmap:{interface}"), SamplingRate::new(rate))),
            );
        }
        if self.switch("pcap") {
            mirrors.extend(interfaces.iter().map(|device| pcap(device, SamplingRate::ONE)));
        }
        mirrors
    }
}

fn pcap(device: &str, sampling: SamplingRate) -> Mirror {
    Mirror { source: MirrorSource::Pcap(PcapConfig::new(device)), workers: 1, sampling }
}
