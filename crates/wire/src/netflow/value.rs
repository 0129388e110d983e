//! Values of fields: numbers in as many bytes as the exporter thought fit, and NTP time stamps.

/// A number in 1 to 8 bytes, the highest first: an unsigned element at its own size or at a reduced
/// one (RFC 7011 §6.2). `None` for any other length.
#[inline]
pub fn read_uint(bytes: &[u8]) -> Option<u64> {
    match *bytes {
        [a] => Some(u64::from(a)),
        [a, b] => Some(u64::from(u16::from_be_bytes([a, b]))),
        [a, b, c, d] => Some(u64::from(u32::from_be_bytes([a, b, c, d]))),
        [] => None,
        _ => match <[u8; 8]>::try_from(bytes) {
            Ok(bytes) => Some(u64::from_be_bytes(bytes)),
            Err(_) if bytes.len() > 8 => None,
            Err(_) => Some(bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))),
        },
    }
}

/// A float64, or one that was reduced to a float32 (RFC 7011 §6.2).
pub fn read_float(bytes: &[u8]) -> Option<f64> {
    if let Ok(bytes) = <[u8; 8]>::try_from(bytes) {
        return Some(f64::from_be_bytes(bytes));
    }
    <[u8; 4]>::try_from(bytes).ok().map(|bytes| f64::from(f32::from_be_bytes(bytes)))
}

/// Nanoseconds since the Unix epoch of an NTP time stamp, 32 bits of seconds and 32 bits of a
/// fraction: the encoding of dateTimeMicroseconds and dateTimeNanoseconds (RFC 7011 §6.1.9,
/// §6.1.10).
///
/// The seconds wrap in 2036: as RFC 4330 §3 has it, a clear top bit means the era that begins then.
pub fn ntp_to_unix_nanoseconds(ntp: u64) -> u64 {
    /// From 1900 to 1970, in seconds.
    const EPOCHS_APART: u64 = 2_208_988_800;
    let (written, fraction) = (ntp >> 32, ntp & 0xffff_ffff);
    let era = if written >> 31 == 0 { 1 << 32 } else { 0 };
    // Times of 1968 and 1969 have the top bit set and no place in the result.
    let seconds = (written + era).saturating_sub(EPOCHS_APART);
    seconds * 1_000_000_000 + ((fraction * 1_000_000_000) >> 32)
}
