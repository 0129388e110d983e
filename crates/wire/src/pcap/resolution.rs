//! The unit of a pcapng interface's time stamps, as its option `if_tsresol` says it.

/// Fraction of a second that one tick lasts: 10^-n, or 2^-n when the byte's top bit is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeResolution {
    byte: u8,
    scale: Scale,
}

/// The same, ready for conversion to nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// Nanoseconds per tick.
    Nanoseconds(u64),
    /// Ticks per nanosecond.
    TicksPerNanosecond(u128),
    /// Ticks per second, as a power of two.
    SecondShift(u32),
}

impl TimeResolution {
    /// Microseconds: what holds when an interface says nothing.
    pub const MICROSECONDS: Self = Self { byte: 6, scale: Scale::Nanoseconds(1_000) };
    /// Nanoseconds.
    pub const NANOSECONDS: Self = Self { byte: 9, scale: Scale::Nanoseconds(1) };

    /// The resolution that a value of `if_tsresol` stands for.
    pub fn from_byte(byte: u8) -> Self {
        let exponent = u32::from(byte & 0x7f);
        let scale = if byte & 0x80 != 0 {
            Scale::SecondShift(exponent)
        } else if exponent <= 9 {
            Scale::Nanoseconds(10_u64.pow(9 - exponent))
        } else {
            // Beyond 10^38 ticks a nanosecond, every 64-bit tick count is zero nanoseconds.
            Scale::TicksPerNanosecond(10_u128.checked_pow(exponent - 9).unwrap_or(u128::MAX))
        };
        Self { byte, scale }
    }

    /// The value of `if_tsresol`.
    pub fn byte(self) -> u8 {
        self.byte
    }

    /// Nanoseconds in `ticks`, rounded down, `u64::MAX` when they do not fit.
    #[inline]
    pub fn nanoseconds(self, ticks: u64) -> u64 {
        match self.scale {
            Scale::Nanoseconds(per_tick) => ticks.saturating_mul(per_tick),
            Scale::TicksPerNanosecond(ticks_each) => (u128::from(ticks) / ticks_each) as u64,
            Scale::SecondShift(shift) => saturate((u128::from(ticks) * 1_000_000_000) >> shift),
        }
    }

    /// Ticks in `nanoseconds`, `u64::MAX` when they do not fit. Where a tick is a nanosecond or
    /// less, [`Self::nanoseconds`] gives the same time back.
    pub fn ticks(self, nanoseconds: u64) -> u64 {
        match self.scale {
            Scale::Nanoseconds(per_tick) => nanoseconds / per_tick,
            Scale::TicksPerNanosecond(ticks_each) => {
                saturate(u128::from(nanoseconds).saturating_mul(ticks_each))
            }
            Scale::SecondShift(shift) => {
                // Rounded up, because the way back rounds down.
                let scaled = u128::from(nanoseconds).saturating_mul(1 << shift);
                saturate(scaled.div_ceil(1_000_000_000))
            }
        }
    }
}

fn saturate(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
