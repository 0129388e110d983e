//! Export datagrams of 20 records of 18 fields, as routers send them.

/// Records in a datagram.
pub const RECORDS: u16 = 20;

/// Number and length of each field: those of a v5 record, without its padding.
pub const FIELDS: [(u16, u16); 18] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 8),
    (1, 8),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (6, 1),
    (4, 1),
    (5, 1),
    (16, 4),
    (17, 4),
    (9, 1),
    (13, 1),
];

/// As [`FIELDS`], with IPv6 addresses and times of day.
pub const FIELDS_V6: [(u16, u16); 18] = [
    (27, 16),
    (28, 16),
    (62, 16),
    (10, 4),
    (14, 4),
    (2, 8),
    (1, 8),
    (152, 8),
    (153, 8),
    (7, 2),
    (11, 2),
    (6, 2),
    (4, 1),
    (5, 1),
    (16, 4),
    (17, 4),
    (29, 1),
    (30, 1),
];

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A datagram with the template and one with the data.
pub fn datagrams(version: u16, fields: &[(u16, u16)]) -> (Vec<u8>, Vec<u8>) {
    let mut template = words(&[256, fields.len() as u16]);
    template.extend(fields.iter().flat_map(|field| words(&[field.0, field.1])));
    let mut data = Vec::new();
    for n in 0..RECORDS {
        for (element, length) in fields {
            data.extend(value(*element, *length, n));
        }
    }
    let set_id = if version == 9 { 0 } else { 2 };
    (message(version, set_id, &template, 1), message(version, 256, &data, RECORDS))
}

fn value(element: u16, length: u16, n: u16) -> Vec<u8> {
    let number = match element {
        8 | 27 => 0xc633_6400 + u64::from(n),
        12 | 28 => 0x0a00_0001 + u64::from(n),
        1 => 4_200,
        2 => 7,
        4 => 6,
        6 => 0x12,
        7 => 1024 + u64::from(n),
        11 => 443,
        21 => 900_000,
        22 => 890_000,
        152 => 1_699_999_980_000,
        153 => 1_699_999_990_000,
        other => u64::from(other % 50) + u64::from(n % 4),
    };
    let mut bytes = vec![0; 16];
    bytes.extend(number.to_be_bytes());
    bytes.split_off(24 - usize::from(length))
}

fn message(version: u16, set_id: u16, body: &[u8], records: u16) -> Vec<u8> {
    let set_length = (4 + body.len()) as u16;
    let mut message = if version == 9 {
        let mut header = words(&[9, records]);
        header.extend([1_000_000_u32, 1_700_000_000, 1, 42].map(u32::to_be_bytes).concat());
        header
    } else {
        let mut header = words(&[10, 16 + set_length]);
        header.extend([1_700_000_000_u32, 1, 42].map(u32::to_be_bytes).concat());
        header
    };
    message.extend(words(&[set_id, set_length]));
    message.extend(body);
    message
}

/// A datagram of NetFlow v5.
#[allow(dead_code, reason = "one of the benches has no use for it")]
pub fn v5() -> Vec<u8> {
    let mut datagram = words(&[5, RECORDS]);
    datagram.extend([1_000_000_u32, 1_700_000_000, 0, 1].map(u32::to_be_bytes).concat());
    datagram.extend([0, 0, 0, 100]);
    for n in 0..RECORDS {
        let n = n as u8;
        datagram.extend([198, 51, 100, n, 10, 0, 0, n, 192, 0, 2, 1, 0, 1, 0, 2]);
        datagram.extend([7_u32, 4_200, 890_000, 900_000].map(u32::to_be_bytes).concat());
        datagram.extend([4, n, 1, 187, 0, 0x12, 6, 0, 0, 1, 0, 2, 24, 24, 0, 0]);
    }
    datagram
}
