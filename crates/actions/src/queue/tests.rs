use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tidewall_model::{Target, Timestamp};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use super::*;
use crate::{ActionError, ActionKind, Applying, fixture};

/// What the n-th attempt comes to.
type Outcome = Box<dyn Fn(&ActionEvent, usize) -> Result<(), ActionError> + Send + Sync>;

/// An action that takes a second and says what it did.
struct Recorder {
    outcome: Outcome,
    attempts: AtomicUsize,
    in_the_air: AtomicUsize,
    most_in_the_air: AtomicUsize,
    tried: UnboundedSender<Tried>,
}

struct Tried {
    target: Target,
    key: String,
    at: Instant,
    ok: bool,
}

fn recorder(outcome: Outcome) -> (Arc<Recorder>, UnboundedReceiver<Tried>) {
    let (tried, seen) = unbounded_channel();
    let recorder = Recorder {
        outcome,
        attempts: AtomicUsize::new(0),
        in_the_air: AtomicUsize::new(0),
        most_in_the_air: AtomicUsize::new(0),
        tried,
    };
    (Arc::new(recorder), seen)
}

impl Action for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn wants(&self, event: &ActionEvent) -> bool {
        event.kind != ActionKind::Started
    }

    fn apply<'a>(&'a self, event: &'a ActionEvent) -> Applying<'a> {
        Box::pin(async move {
            let now_in_the_air = self.in_the_air.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_in_the_air.fetch_max(now_in_the_air, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
            self.in_the_air.fetch_sub(1, Ordering::SeqCst);
            let result = (self.outcome)(event, self.attempts.fetch_add(1, Ordering::SeqCst));
            _ = self.tried.send(Tried {
                target: event.attack.target.clone(),
                key: event.key(),
                at: now(),
                ok: result.is_ok(),
            });
            result
        })
    }
}

/// A queue on this test's runtime, whose clock stands still while there is work.
struct Run {
    queue: Queue,
    ending: watch::Sender<Option<Instant>>,
    far: tokio::task::JoinHandle<()>,
}

fn run(action: &Arc<Recorder>, config: QueueConfig) -> Run {
    let (ending, ended) = watch::channel(None);
    let (queue, dispatcher) = queue(Arc::clone(action) as _, config, ended);
    Run { queue, ending, far: tokio::spawn(dispatcher.run()) }
}

impl Run {
    async fn end(self, drain: Duration) -> ActionStatus {
        self.ending.send_replace(Some(now() + drain));
        self.far.await.unwrap();
        self.queue.shared.status()
    }
}

fn all(mut seen: UnboundedReceiver<Tried>) -> Vec<Tried> {
    let mut tried = Vec::new();
    while let Ok(one) = seen.try_recv() {
        tried.push(one);
    }
    tried
}

const LONG: Duration = Duration::from_secs(100_000);

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_repeated_with_growing_pauses() {
    let outcome = |_: &ActionEvent, n: usize| match n {
        0..5 => Err(ActionError::temporary("not yet")),
        _ => Ok(()),
    };
    let (action, seen) = recorder(Box::new(outcome));
    let run = run(&action, QueueConfig::default());
    assert!(run.queue.submit(&fixture::shared(ActionKind::Banned, 1)));
    let status = run.end(LONG).await;
    assert_eq!((status.done, status.retried, status.failed, status.dropped), (1, 5, 0, 0));
    assert_eq!(status.last_error.unwrap().1, "not yet");
    assert!(status.last_success.is_some());
    let tried = all(seen);
    for (n, two) in tried.windows(2).enumerate() {
        let pause = (two[1].at - two[0].at - Duration::from_secs(1)).as_secs_f64();
        let full = f64::from(1 << n);
        assert!((full / 2.0 - 0.01..=full + 0.01).contains(&pause), "pause {n}: {pause} s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_given_up_at_its_deadline_and_at_once_when_it_cannot_work() {
    let outcome = |event: &ActionEvent, _| match event.attack.id.0 {
        1 => Err(ActionError::temporary("refused")),
        _ => Err(ActionError::permanent("no such thing")),
    };
    let (action, seen) = recorder(Box::new(outcome));
    let config = QueueConfig { deadline: Duration::from_secs(60), ..QueueConfig::default() };
    let began = now();
    let run = run(&action, config);
    run.queue.submit(&fixture::shared(ActionKind::Banned, 1));
    run.queue.submit(&fixture::shared(ActionKind::Banned, 2));
    sleep(Duration::from_secs(120)).await;
    let status = run.end(LONG).await;
    assert_eq!((status.failed, status.done, status.waiting), (2, 0, 0));
    assert!(status.last_error.unwrap().1.starts_with("given up after"));
    let tried = all(seen);
    assert_eq!(tried.iter().filter(|t| t.key.contains("000000000002-")).count(), 1);
    assert!(tried.len() > 4);
    assert!(tried.iter().all(|t| t.at - began <= Duration::from_secs(61)));
}

#[tokio::test(start_paused = true)]
async fn the_other_side_may_ask_for_a_longer_pause() {
    let outcome = |_: &ActionEvent, n: usize| match n {
        0 => Err(ActionError {
            retry_after: Some(Duration::from_secs(30)),
            ..ActionError::temporary("too many requests")
        }),
        _ => Ok(()),
    };
    let (action, seen) = recorder(Box::new(outcome));
    let run = run(&action, QueueConfig::default());
    run.queue.submit(&fixture::shared(ActionKind::Banned, 1));
    run.end(LONG).await;
    let tried = all(seen);
    assert!(tried[1].at - tried[0].at >= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_attempt_ends_and_a_panic_is_an_error() {
    struct Hangs;
    impl Action for Hangs {
        fn name(&self) -> &'static str {
            "hangs"
        }
        fn wants(&self, _: &ActionEvent) -> bool {
            true
        }
        fn apply<'a>(&'a self, event: &'a ActionEvent) -> Applying<'a> {
            assert!(event.attack.id.0 != 2, "told to");
            Box::pin(std::future::pending())
        }
    }
    let (ending, ended) = watch::channel(None);
    let config = QueueConfig { deadline: Duration::from_secs(100), ..QueueConfig::default() };
    let (queue, dispatcher) = queue(Arc::new(Hangs), config, ended);
    let far = tokio::spawn(dispatcher.run());
    queue.submit(&fixture::shared(ActionKind::Banned, 2));
    sleep(Duration::from_secs(1)).await;
    let status = queue.shared.status();
    assert_eq!((status.failed, status.last_error.unwrap().1.as_str()), (1, "the action panicked"));
    queue.submit(&fixture::shared(ActionKind::Banned, 1));
    ending.send_replace(Some(now() + LONG));
    far.await.unwrap();
    let status = queue.shared.status();
    assert_eq!((status.failed, status.waiting, status.running), (2, 0, 0));
    assert!(status.last_error.unwrap().1.contains("no end of the attempt within 60 s"));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_counted_and_so_is_what_the_end_leaves() {
    let (action, seen) = recorder(Box::new(|_, _| Ok(())));
    let config = QueueConfig { capacity: 10, concurrency: 2, ..QueueConfig::default() };
    let run = run(&action, config);
    let taken = (0..25).filter(|id| run.queue.submit(&fixture::shared(ActionKind::Banned, *id)));
    assert_eq!(taken.count(), 10);
    assert!(run.queue.submit(&fixture::shared(ActionKind::Started, 99)), "not wanted is not lost");
    let status = run.queue.shared.status();
    assert_eq!((status.dropped, status.waiting + status.running), (15, 10));
    let status = run.end(Duration::from_millis(2500)).await;
    assert_eq!((status.done, status.dropped, status.waiting), (4, 15 + 6, 0));
    assert_eq!(status.last_error.unwrap().1, "ended with 6 events that were not carried out");
    assert_eq!(all(seen).len(), 4);
    assert_eq!(action.most_in_the_air.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_after_the_end() {
    let (action, _seen) = recorder(Box::new(|_, _| Ok(())));
    let Run { queue, ending, far } = run(&action, QueueConfig::default());
    ending.send_replace(Some(now()));
    far.await.unwrap();
    assert!(!queue.submit(&fixture::shared(ActionKind::Banned, 1)));
    assert_eq!((queue.shared.status().dropped, queue.shared.status().waiting), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_again_is_carried_out_once_unless_it_failed() {
    let outcome = |_: &ActionEvent, n: usize| match n {
        0 => Err(ActionError::permanent("first")),
        _ => Ok(()),
    };
    let (action, seen) = recorder(Box::new(outcome));
    let run = run(&action, QueueConfig::default());
    for _ in 0..4 {
        run.queue.submit(&fixture::shared(ActionKind::Banned, 1));
        sleep(Duration::from_secs(5)).await;
    }
    let status = run.end(LONG).await;
    assert_eq!((status.failed, status.done, status.repeated), (1, 1, 2));
    assert_eq!(all(seen).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn updates_that_wait_give_way_to_newer_ones() {
    let (action, seen) = recorder(Box::new(|_, _| Ok(())));
    let run = run(&action, QueueConfig::default());
    let at = |kind, millis: u64| {
        let mut event = fixture::event(kind, 1);
        event.time = Timestamp(event.time.0 + millis * 1_000_000);
        Arc::new(event)
    };
    let (first, last) = (at(ActionKind::Banned, 0), at(ActionKind::Ended, 50));
    run.queue.submit(&first);
    for millis in 1..40 {
        run.queue.submit(&at(ActionKind::Updated, millis));
    }
    run.queue.submit(&last);
    let status = run.end(LONG).await;
    assert_eq!((status.done, status.merged, status.waiting), (3, 38, 0));
    let keys: Vec<String> = all(seen).into_iter().map(|tried| tried.key).collect();
    assert_eq!(keys, [first.key(), at(ActionKind::Updated, 39).key(), last.key()]);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_pauses_holds_up_nobody_else() {
    let outcome = |event: &ActionEvent, _| match event.attack.id.0 {
        1 => Err(ActionError::temporary("down")),
        _ => Ok(()),
    };
    let (action, seen) = recorder(Box::new(outcome));
    let began = now();
    let run = run(&action, QueueConfig { concurrency: 1, ..QueueConfig::default() });
    for id in 1..=20 {
        run.queue.submit(&fixture::shared(ActionKind::Banned, id));
    }
    sleep(Duration::from_secs(40)).await;
    assert_eq!(run.end(Duration::ZERO).await.done, 19);
    let good: Vec<Tried> = all(seen).into_iter().filter(|tried| tried.ok).collect();
    // Each takes a second; the pausing one took a few turns.
    assert!(good.iter().all(|tried| tried.at - began <= Duration::from_secs(26)));
}

#[test]
fn the_thread_starts_works_and_ends() {
    let (action, mut seen) = recorder(Box::new(|_, _| Ok(())));
    let actions = Actions::start(vec![(action, QueueConfig::default())]).unwrap();
    assert_eq!(actions.submit(&fixture::shared(ActionKind::Banned, 1)), 0);
    assert!(seen.blocking_recv().unwrap().ok);
    let [status] = &actions.shutdown(Duration::from_secs(10))[..] else { panic!("one action") };
    assert_eq!((status.name.as_str(), status.done, status.running), ("recorder", 1, 0));
}

/// What is submitted, and how its attempts end.
#[derive(Clone, Debug)]
struct Plan {
    events: Vec<(u64, u64)>,
    failures: Vec<u8>,
    concurrency: usize,
}

fn plan() -> impl Strategy<Value = Plan> {
    let events = prop::collection::vec((0u64..6, 0u64..3000), 1..80);
    (events, prop::collection::vec(0u8..4, 64), 1usize..6)
        .prop_map(|(events, failures, concurrency)| Plan { events, failures, concurrency })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever fails and whenever it comes: each target's events succeed in the order in which
    /// they were submitted, each once, and bounds hold.
    #[test]
    fn order_per_target_is_kept(plan in plan()) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(check(plan))?;
    }
}

async fn check(plan: Plan) -> Result<(), TestCaseError> {
    let failures = plan.failures.clone();
    let outcome = move |_: &ActionEvent, n: usize| match failures[n % failures.len()] {
        0 => Err(ActionError::temporary("sometimes")),
        1 if n % 7 == 0 => Err(ActionError::permanent("never")),
        _ => Ok(()),
    };
    let (action, seen) = recorder(Box::new(outcome));
    let config =
        QueueConfig { concurrency: plan.concurrency, deadline: LONG, ..QueueConfig::default() };
    let run = run(&action, config);
    let mut submitted: BTreeMap<Target, Vec<String>> = BTreeMap::new();
    for (at, (host, pause)) in plan.events.iter().enumerate() {
        let kind = if at % 2 == 0 { ActionKind::Banned } else { ActionKind::Unbanned };
        let mut event = fixture::event(kind, *host);
        event.time = Timestamp(event.time.0 + at as u64 * 1_000_000_000);
        submitted.entry(event.attack.target.clone()).or_default().push(event.key());
        run.queue.submit(&Arc::new(event));
        sleep(Duration::from_millis(*pause)).await;
    }
    let status = run.end(LONG).await;
    prop_assert_eq!(status.done + status.failed, plan.events.len() as u64);
    prop_assert_eq!((status.waiting, status.running, status.dropped), (0, 0, 0));
    prop_assert!(action.most_in_the_air.load(Ordering::SeqCst) <= plan.concurrency);
    let mut tried: BTreeMap<Target, Vec<String>> = BTreeMap::new();
    let mut done = 0;
    for one in all(seen) {
        done += u64::from(one.ok);
        let keys = tried.entry(one.target).or_default();
        if keys.last() != Some(&one.key) {
            keys.push(one.key);
        }
    }
    prop_assert_eq!(done, status.done);
    prop_assert_eq!(tried, submitted);
    Ok(())
}
