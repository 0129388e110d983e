//! A router that exports NetFlow v9 or IPFIX by layouts that the test chooses.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::UdpSocket;
use std::time::Duration;

use tidewall_wire::emit::netflow::{ExportTime, MessageWriter};
use tidewall_wire::netflow::{FieldSpec, Protocol, Template, TemplateKind};

/// Element and length of each field of a record.
pub type Layout = &'static [(u16, u16)];

/// Two layouts of the same length: what one calls source and bytes, the other calls destination and
/// packets.
pub const LAYOUTS: [Layout; 2] =
    [&[(8, 4), (12, 4), (2, 4), (1, 4), (4, 1)], &[(12, 4), (8, 4), (1, 4), (2, 4), (4, 1)]];

/// What a flow says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// It goes to 192.0.2.`host`.
    pub host: u8,
    pub packets: u64,
    /// In the unit of the layout.
    pub start: u64,
    pub end: u64,
}

impl Flow {
    fn value(self, element: u16) -> u64 {
        match element {
            1 => 1000 * self.packets,
            2 => self.packets,
            4 => 17,
            8 => 0xc633_6401,
            12 => 0xc000_0200 | u64::from(self.host),
            22 | 152 => self.start,
            21 | 153 => self.end,
            other => panic!("element {other}"),
        }
    }
}

/// A router with a socket of its own.
pub struct Router {
    pub socket: UdpSocket,
    port: u16,
    protocol: Protocol,
    pub writer: MessageWriter,
    pub time: ExportTime,
    /// What was sent since it was made.
    pub datagrams: u64,
    pub flows: u64,
}

impl Router {
    /// Sends to this port of the machine.
    pub fn new(protocol: Protocol, port: u16) -> Self {
        Self {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            port,
            protocol,
            writer: MessageWriter::new(protocol, 1),
            time: ExportTime { unix_secs: 1_790_000_000, unix_nsecs: 0, sys_uptime: 0 },
            datagrams: 0,
            flows: 0,
        }
    }

    /// It starts anew: numbers and age begin at zero.
    pub fn start(&mut self) {
        self.writer.sequence = 0;
        self.time.sys_uptime = 0;
    }

    /// Sends a template.
    pub fn define(&mut self, id: u16, layout: Layout) {
        let template = template(self.protocol, id, layout);
        self.writer.begin();
        self.writer.template(&template);
        self.send();
    }

    /// Sends a datagram with `count` flows like this one.
    pub fn flows(&mut self, id: u16, layout: Layout, flow: Flow, count: u64) {
        self.writer.begin();
        append(&mut self.writer, id, layout, flow, count);
        self.flows += count;
        self.send();
    }

    fn send(&mut self) {
        let datagram = self.writer.finish(self.time);
        self.socket.send_to(datagram, ("127.0.0.1", self.port)).unwrap();
        self.datagrams += 1;
        self.time.sys_uptime += 1000;
        // A moderate rate.
        if self.datagrams.is_multiple_of(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The template of a layout.
pub fn template(protocol: Protocol, id: u16, layout: Layout) -> Template {
    Template::new(protocol, TemplateKind::Data, id, 0, fields(layout)).unwrap()
}

/// Adds `count` flows like this one to a message.
pub fn append(writer: &mut MessageWriter, id: u16, layout: Layout, flow: Flow, count: u64) {
    let values: Vec<[u8; 8]> = layout.iter().map(|(e, _)| flow.value(*e).to_be_bytes()).collect();
    let values: Vec<&[u8]> = values.iter().map(<[u8; 8]>::as_slice).collect();
    for _ in 0..count {
        writer.record_of(id, &fields(layout), &values);
    }
}

fn fields(layout: Layout) -> Vec<FieldSpec> {
    layout
        .iter()
        .map(|(element, length)| FieldSpec { element: *element, enterprise: 0, length: *length })
        .collect()
}
