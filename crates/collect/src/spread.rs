//! When a flow's packets count: all when its record arrives, or spread over as long a time as the
//! flow lasted. docs/flows.md says what each means for detection.
//!
//! A record with a duration of d that arrives at t pays its packets out in whole numbers between t
//! and t + d, at its mean rate from the moment of arrival: after a part of the time, the packets
//! paid differ from that part by less than one. Bytes follow packets. Fast flows pay every 100 ms,
//! others every second, and slow ones when a packet is due; the first instant is shifted by a hash
//! of the record's number, so that the flows of one datagram do not pay in step.
//!
//! Records lie in a wheel of ticks, linked by index: a tick costs as much as it has payments.
//! Nothing is allocated after construction but what the output needs.

use std::time::Duration;

use tidewall_model::{FlowRecord, Timestamp};

/// How flows are credited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crediting {
    /// All of a flow when its record arrives.
    #[default]
    Arrival,
    /// Evenly over a time as long as the flow lasted, from the arrival of its record on.
    Spread {
        /// Longer flows are spread over this.
        longest: Duration,
    },
}

impl Crediting {
    /// Spread over up to five minutes.
    pub const SPREAD: Self = Self::Spread { longest: Duration::from_mins(5) };
}

/// Payments happen at multiples of this.
const TICK_NS: u64 = 100_000_000;

/// No flow is spread over more.
const LONGEST: Duration = Duration::from_hours(24);

/// Shorter flows are credited on arrival.
const SHORTEST: Duration = Duration::from_secs(1);

/// Ticks between two payments of a flow that is not fast.
const STEP: u64 = 10;

/// A flow with so many packets, or bytes, a second pays every tick: a second's worth at once would
/// look like a burst. There can be few of them.
const FAST_PPS: u64 = 1000;
const FAST_BYTES_PER_SECOND: u64 = 1_000_000;

/// Ticks that one call of [`Spreader::advance`] pays for at most.
const TICKS_A_CALL: u64 = 10;

/// Slots of the wheel; what is due later is put off.
const SLOTS: usize = 4096;

/// Time may run back by so much, and payments wait. Beyond it, the clock was set.
const BACK: Duration = Duration::from_mins(1);

const NONE: u32 = u32::MAX;

/// A record that is being paid out.
#[derive(Clone, Copy, Debug)]
struct Live {
    record: FlowRecord,
    /// Packets paid out.
    paid: u64,
    /// Tick in which it arrived, and ticks that it lasts.
    start: u64,
    ticks: u64,
    /// Tick of the next payment.
    due: u64,
    /// Below `ticks`: shifts the instants at which a packet is whole.
    dither: u64,
    step: u64,
}

/// How a place hangs in its list: apart from the records, so that lists are quick to walk.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// Number of the record.
    seq: u64,
    /// The next place in its slot, or of the free ones.
    next: u32,
}

/// Pays out records over their durations.
#[derive(Debug)]
pub struct Spreader {
    longest: Duration,
    capacity: usize,
    places: Vec<Live>,
    /// One for each place.
    links: Vec<Link>,
    free: u32,
    live: usize,
    /// The first of each slot.
    slots: Vec<u32>,
    /// What is due in a tick, in order.
    due: Vec<Link>,
    /// The last tick that is paid.
    tick: u64,
    started: bool,
    not_spread: u64,
}

impl Spreader {
    /// Records alive at once, unless said otherwise: 50 MB.
    pub const CAPACITY: usize = 262_144;

    /// Spreads over up to `longest` (a day at most), with room for so many records at once: 192
    /// bytes each.
    pub fn new(longest: Duration, capacity: usize) -> Self {
        let capacity = capacity.min(NONE as usize - 1);
        Self {
            longest: longest.min(LONGEST),
            capacity,
            places: Vec::with_capacity(capacity),
            links: Vec::with_capacity(capacity),
            free: NONE,
            live: 0,
            slots: vec![NONE; SLOTS],
            due: Vec::with_capacity(capacity),
            tick: 0,
            started: false,
            not_spread: 0,
        }
    }

    /// Takes a record that arrived at its `time`; `duration` is how long its flow lasted. What is
    /// not spread goes to `out` at once: flows of less than a second or of one packet, and records
    /// for which there is no room. Call [`Self::advance`] with the time of arrival before.
    pub fn push(&mut self, record: FlowRecord, duration: Duration, out: &mut Vec<FlowRecord>) {
        let duration = duration.min(self.longest);
        if duration < SHORTEST || record.packets < 2 {
            out.push(record);
            return;
        }
        if self.live >= self.capacity {
            self.not_spread += 1;
            out.push(record);
            return;
        }
        self.start_at(record.time);
        let mut live = Live::new(record, duration, self.tick);
        live.due = live.first_due();
        self.place(live);
    }

    /// Pays what is due up to `now`, in order of time and number. When it gives true, more is due:
    /// use what is in `out` and call again. A call pays for at most a second, so that `out` stays
    /// small after a pause.
    ///
    /// A step forward is paid for like the time that it stands for, and no further than the last
    /// record goes. A step back of more than a minute is a clock that was set: the records go on
    /// from there. After a smaller one payments wait for the time to come again.
    #[must_use = "when true, more is due: call again"]
    pub fn advance(&mut self, now: Timestamp, out: &mut Vec<FlowRecord>) -> bool {
        self.start_at(now);
        let target = now.0 / TICK_NS;
        if target < self.tick {
            if (self.tick - target) * TICK_NS > BACK.as_nanos() as u64 {
                self.set_back(target);
            }
            return false;
        }
        let last = target.min(self.tick + TICKS_A_CALL);
        while self.tick < last && self.live > 0 {
            self.tick += 1;
            self.pay_tick(out);
        }
        if self.live == 0 {
            self.tick = target;
        }
        self.tick < target
    }

    /// No more records come: pays all that is left as time would bring it. What was paid at once
    /// would be a lump, and a false alarm. When it gives true, more is left: use what is in `out`
    /// and call again.
    #[must_use = "when true, more is left: call again"]
    pub fn finish(&mut self, out: &mut Vec<FlowRecord>) -> bool {
        self.started = self.advance(Timestamp(u64::MAX), out);
        self.started
    }

    /// Records being paid out.
    pub const fn live(&self) -> usize {
        self.live
    }

    /// Records that were credited on arrival for want of room.
    pub const fn not_spread(&self) -> u64 {
        self.not_spread
    }

    fn start_at(&mut self, now: Timestamp) {
        if !self.started {
            self.started = true;
            self.tick = now.0 / TICK_NS;
        }
    }

    /// Puts a record where it is found when it is due, or as far ahead as the wheel reaches.
    fn place(&mut self, live: Live) {
        let (due, seq) = (live.due, live.record.seq);
        let place = self.free;
        if let (Some(slot), Some(link)) =
            (self.places.get_mut(place as usize), self.links.get_mut(place as usize))
        {
            *slot = live;
            self.free = std::mem::replace(&mut link.next, NONE);
            link.seq = seq;
            self.link(place, due);
        } else {
            self.places.push(live);
            self.links.push(Link { seq, next: NONE });
            self.link(self.places.len() as u32 - 1, due);
        }
        self.live += 1;
    }

    fn link(&mut self, place: u32, due: u64) {
        let tick = due.clamp(self.tick + 1, self.tick + SLOTS as u64 - 1);
        if let (Some(first), Some(link)) =
            (self.slots.get_mut(tick as usize % SLOTS), self.links.get_mut(place as usize))
        {
            link.next = std::mem::replace(first, place);
        }
    }

    fn release(&mut self, place: u32) {
        if let Some(link) = self.links.get_mut(place as usize) {
            link.next = std::mem::replace(&mut self.free, place);
            self.live -= 1;
        }
    }

    /// Pays what is due in the current tick, in the order of the records' numbers: that in a slot
    /// depends on when they were put there.
    fn pay_tick(&mut self, out: &mut Vec<FlowRecord>) {
        let Some(first) = self.slots.get_mut(self.tick as usize % SLOTS) else { return };
        let mut place = std::mem::replace(first, NONE);
        let mut due = std::mem::take(&mut self.due);
        while let Some(link) = self.links.get(place as usize) {
            due.push(Link { seq: link.seq, next: place });
            place = link.next;
        }
        due.sort_unstable_by_key(|link| (link.seq, link.next));
        for link in due.drain(..) {
            self.pay(link.next, self.tick, out);
        }
        self.due = due;
    }

    /// Pays what is due of a record that is in no slot, and puts it where it belongs then.
    fn pay(&mut self, place: u32, tick: u64, out: &mut Vec<FlowRecord>) {
        let Some(live) = self.places.get_mut(place as usize) else { return };
        if live.due <= tick {
            out.extend(live.pay(tick));
        }
        if live.paid < live.record.packets {
            let due = live.due;
            self.link(place, due);
        } else {
            self.release(place);
        }
    }

    /// The clock was set back: everything is moved with it.
    fn set_back(&mut self, target: u64) {
        let by = self.tick - target;
        let mut place = self.unlink_all();
        self.tick = target;
        while let Some(live) = self.places.get_mut(place as usize) {
            live.start = live.start.saturating_sub(by);
            live.due = live.due.saturating_sub(by);
            let due = live.due;
            let next = self.links.get(place as usize).map_or(NONE, |link| link.next);
            self.link(place, due);
            place = next;
        }
    }

    /// Empties the wheel; gives the first of one list of all records.
    fn unlink_all(&mut self) -> u32 {
        let mut all = NONE;
        for first in &mut self.slots {
            let mut place = std::mem::replace(first, NONE);
            while let Some(link) = self.links.get_mut(place as usize) {
                let next = std::mem::replace(&mut link.next, all);
                all = place;
                place = next;
            }
        }
        all
    }
}

impl Live {
    /// A record that begins to pay when it arrives, but not before the tick that is paid.
    fn new(record: FlowRecord, duration: Duration, tick: u64) -> Self {
        let ticks = (duration.as_nanos() as u64 / TICK_NS).max(1);
        let hash = mix(record.seq);
        let rate = |amount: u64| amount / duration.as_secs().max(1);
        let fast = rate(record.scaled_packets()) >= FAST_PPS
            || rate(record.scaled_bytes()) >= FAST_BYTES_PER_SECOND;
        Self {
            record,
            paid: 0,
            start: tick.max(record.time.0 / TICK_NS),
            ticks,
            due: 0,
            dither: (hash >> 32) % ticks,
            step: if fast { 1 } else { STEP },
        }
    }

    fn first_due(&self) -> u64 {
        let shift = 1 + mix(self.record.seq) % self.step;
        self.due_from(self.start + shift)
    }

    /// The first tick from this one on that has a packet to pay.
    fn due_from(&self, tick: u64) -> u64 {
        let packets = self.record.packets.max(1);
        let next = self.paid.saturating_add(1);
        // The dither is below the ticks.
        let after = if let Some(product) = self.ticks.checked_mul(next) {
            (product - self.dither).div_ceil(packets)
        } else {
            let product = u128::from(self.ticks) * u128::from(next) - u128::from(self.dither);
            u64::try_from(product.div_ceil(u128::from(packets))).unwrap_or(u64::MAX)
        };
        tick.max(self.start.saturating_add(after)).min(self.end())
    }

    const fn end(&self) -> u64 {
        self.start.saturating_add(self.ticks)
    }

    /// What is due in this tick, or was until the record's end.
    fn pay(&mut self, tick: u64) -> Option<FlowRecord> {
        let tick = tick.min(self.end());
        let elapsed = tick.saturating_sub(self.start);
        let packets = self.record.packets;
        let to_pay = part(packets, elapsed, self.ticks, self.dither);
        let piece = (to_pay > self.paid).then(|| {
            let bytes = |paid| part(self.record.bytes, paid, packets, 0);
            FlowRecord {
                time: Timestamp(tick.saturating_mul(TICK_NS)),
                packets: to_pay - self.paid,
                bytes: bytes(to_pay) - bytes(self.paid),
                ..self.record
            }
        });
        self.paid = to_pay.max(self.paid);
        self.due = self.due_from(tick + self.step);
        piece
    }
}

/// Part `of` of a whole, rounded down after adding a dither below `whole`.
fn part(total: u64, of: u64, whole: u64, dither: u64) -> u64 {
    let whole = whole.max(1);
    let small = total.checked_mul(of).and_then(|product| product.checked_add(dither));
    if let Some(product) = small {
        return product / whole;
    }
    let product = u128::from(total) * u128::from(of) + u128::from(dither);
    u64::try_from(product / u128::from(whole)).unwrap_or(total)
}

/// Scatters record numbers (the finaliser of SplitMix64).
const fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;
