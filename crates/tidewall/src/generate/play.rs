//! Plays a scenario in its own time: every message leaves when its exporter would send it.

use std::time::Duration;

use tidewall_model::{SamplingRate, Timestamp};
use tidewall_scenario::{
    FlowCachePlan, FlowCacheRenderer, FlowProtocol, FrameRenderer, Generator, RenderError,
    Renderer, Scenario, SflowPlan, SflowRenderer,
};

use super::send::{Amount, Outcome, Senders};
use crate::demo::Medium;
use crate::live::clock::Clock;

/// Sends a scenario's traffic from now on, for at most so long.
pub fn play(
    mut scenario: Scenario,
    medium: Medium,
    sampling: SamplingRate,
    senders: &Senders,
    time: Option<Duration>,
    clock: Clock,
    stop: &dyn Fn() -> bool,
) -> Result<Outcome, RenderError> {
    let begin = clock.now();
    scenario.start = begin;
    let end = time.map_or(scenario.end(), |time| (begin + time).min(scenario.end()));
    let mut renderer = renderer(medium);
    let mut outcome = Outcome::default();
    let mut amount = Amount::default();
    let mut sink = |at: Timestamp, message: &[u8]| {
        wait_until(at, clock);
        let Some(sender) = senders.first() else { return };
        let sent = sender.send(&[message]);
        amount.messages += sent.messages as u64;
        amount.bytes += message.len() as u64;
        outcome.refused += sent.refused as u64;
        if sent.refused > 0 {
            outcome.reason = sent.reason;
        }
    };
    let mut records = 0;
    for record in Generator::sampled(&scenario, sampling).take_while(|record| record.time < end) {
        if stop() {
            break;
        }
        renderer.render(&record, &mut sink)?;
        records += 1;
    }
    renderer.finish(&mut sink);
    amount.records = records;
    outcome.time = clock.now().since(begin);
    outcome.streams = vec![amount];
    outcome.began = vec![Some(begin)];
    Ok(outcome)
}

#[expect(clippy::disallowed_methods, reason = "a generator keeps time by the clock on the wall")]
fn wait_until(at: Timestamp, clock: Clock) {
    let now = clock.now();
    if at > now {
        std::thread::sleep(at.since(now));
    }
}

fn renderer(medium: Medium) -> Box<dyn Renderer> {
    let flows = |protocol| FlowCacheRenderer::new(protocol, &FlowCachePlan::default());
    match medium {
        Medium::Frames => Box::new(FrameRenderer::new()),
        Medium::Sflow => Box::new(SflowRenderer::new(&SflowPlan::default())),
        Medium::Netflow5 => Box::new(flows(FlowProtocol::NetflowV5)),
        Medium::Netflow9 => Box::new(flows(FlowProtocol::NetflowV9)),
        Medium::Ipfix => Box::new(flows(FlowProtocol::Ipfix)),
    }
}
