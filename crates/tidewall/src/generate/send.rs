//! Sends reels round after round, each at its rate.

use std::io;
use std::time::Duration;

use tidewall_capture::OpenError;
use tidewall_capture::send::{BATCH, BatchSender};
use tidewall_model::Timestamp;

use super::reel::Reel;
use super::stamp::{Counters, Now};
use super::target::{Destination, source_address};
use crate::live::clock::Clock;

/// Time between two looks at what is due.
const TICK: Duration = Duration::from_micros(500);
/// What could not be sent in so long is not sent later: a burst is no rate.
const MOST_BEHIND: Duration = Duration::from_millis(50);

/// One reel and when it is sent.
#[derive(Debug)]
pub struct Stream {
    /// What is sent.
    pub reel: Reel,
    /// Records a second; `None`: as fast as possible.
    pub rate: Option<f64>,
    /// It begins so long after the start.
    pub after: Duration,
    at: usize,
    /// When what was sent by now would have begun at this rate.
    base: Option<Duration>,
    paid: f64,
    sent: Amount,
    began: Option<Timestamp>,
}

/// When to end, whichever comes first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Orders {
    /// After this time.
    pub time: Option<Duration>,
    /// After so many records of the first stream.
    pub records: Option<u64>,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Records in the messages.
    pub records: u64,
    /// Datagrams or frames.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What became of it all.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// How long it took.
    pub time: Duration,
    /// What the kernel took, by stream.
    pub streams: Vec<Amount>,
    /// When the first message of each stream was sent.
    pub began: Vec<Option<Timestamp>>,
    /// Messages that the kernel refused.
    pub refused: u64,
    /// Its last reason.
    pub reason: i32,
}

/// Sockets to the destination, one for each exporter.
pub struct Senders(Vec<(BatchSender, Counters)>);

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The interface cannot be opened.
    #[error(transparent)]
    Interface(#[from] OpenError),
    /// A socket cannot be made.
    #[error("datagrams cannot be sent to {0}: {1}")]
    Udp(std::net::SocketAddr, io::Error),
}

impl Senders {
    /// Opens the sockets of so many exporters.
    pub fn open(destination: &Destination, exporters: u16) -> Result<Self, SendError> {
        let senders = match destination {
            Destination::Interface(name) => vec![BatchSender::interface(name)?],
            Destination::Address(to) => (0..exporters.max(1))
                .map(|exporter| {
                    BatchSender::udp(source_address(*to, exporter), *to)
                        .map_err(|reason| SendError::Udp(*to, reason))
                })
                .collect::<Result<_, _>>()?,
        };
        Ok(Self(senders.into_iter().map(|sender| (sender, Counters::default())).collect()))
    }

    /// The first one.
    pub(super) fn first(&self) -> Option<&BatchSender> {
        self.0.first().map(|(sender, _)| sender)
    }
}

impl Stream {
    /// A reel at a rate, from the start.
    pub fn new(reel: Reel, rate: Option<f64>) -> Self {
        Self::later(reel, rate, Duration::ZERO)
    }

    /// A reel that begins later.
    pub fn later(reel: Reel, rate: Option<f64>, after: Duration) -> Self {
        let sent = Amount::default();
        Self { reel, rate, after, at: 0, base: None, paid: 0.0, sent, began: None }
    }

    /// Records that may be sent now.
    fn due(&mut self, now: Duration) -> u64 {
        if now < self.after {
            return 0;
        }
        let Some(rate) = self.rate else { return u64::MAX };
        let base = self.base.get_or_insert(now);
        let passed = now.saturating_sub(*base).as_secs_f64() * rate;
        let behind = passed - self.paid - rate * MOST_BEHIND.as_secs_f64();
        // A datagram of a slow stream is due when the last of its records is.
        if behind > self.reel.records(self.at) as f64 {
            self.paid += behind;
        }
        (passed - self.paid).max(0.0) as u64
    }

    /// Sends one batch of what is due; gives false when nothing is.
    fn send(
        &mut self,
        due: u64,
        most: u64,
        now: Now,
        senders: &mut Senders,
        out: &mut Outcome,
    ) -> bool {
        let exporter = self.reel.exporter(self.at);
        let Some(index) = exporter.checked_rem(senders.0.len()) else { return false };
        let (sender, counters) = &mut senders.0[index];
        let (mut records, mut end) = (0, self.at);
        // One socket's messages of this round; a message is not twice in a batch.
        while end < self.reel.len()
            && end - self.at < BATCH
            && self.reel.exporter(end) == exporter
            && records + self.reel.records(end) <= due
            && records < most
        {
            records += self.reel.records(end);
            self.reel.stamp(end, counters, now);
            end += 1;
        }
        if end == self.at {
            return false;
        }
        let mut messages: [&[u8]; BATCH] = [&[]; BATCH];
        for (message, at) in messages.iter_mut().zip(self.at..end) {
            *message = self.reel.message(at);
        }
        let messages = &messages[..end - self.at];
        self.began.get_or_insert(now.time);
        let sent = sender.send(messages);
        self.paid += records as f64;
        self.sent.records += records;
        self.sent.messages += sent.messages as u64;
        self.sent.bytes += messages.iter().map(|message| message.len() as u64).sum::<u64>();
        if sent.refused > 0 {
            out.refused += sent.refused as u64;
            out.reason = sent.reason;
        }
        self.at = end % self.reel.len();
        true
    }
}

/// Sends until the orders say that it is enough, or `stop` does.
#[expect(clippy::disallowed_methods, reason = "a generator keeps time by the clock on the wall")]
pub fn send(
    streams: &mut [Stream],
    senders: &mut Senders,
    orders: Orders,
    clock: Clock,
    stop: &dyn Fn() -> bool,
) -> Outcome {
    let mut outcome = Outcome::default();
    let begin = clock.elapsed();
    'all: while !stop() {
        let now = clock.elapsed().saturating_sub(begin);
        if orders.time.is_some_and(|time| now >= time) {
            break;
        }
        let mut idle = true;
        for (number, stream) in streams.iter_mut().enumerate() {
            let limit = orders.records.filter(|_| number == 0).unwrap_or(u64::MAX);
            let most = limit.saturating_sub(stream.sent.records);
            if most == 0 {
                break 'all;
            }
            let due = stream.due(now);
            let stamp = Now { time: clock.now(), uptime_ms: now.as_millis() as u32 };
            idle &= !stream.send(due, most, stamp, senders, &mut outcome);
        }
        if idle {
            std::thread::sleep(TICK);
        }
    }
    outcome.time = clock.elapsed().saturating_sub(begin);
    outcome.streams = streams.iter().map(|stream| stream.sent).collect();
    outcome.began = streams.iter().map(|stream| stream.began).collect();
    outcome
}
