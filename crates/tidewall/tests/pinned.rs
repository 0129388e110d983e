//! Workers that are bound to CPUs: what the kernel says of the threads of a running service.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

mod service;

use std::fs;
use std::path::Path;
use std::process::Command;

use service::skip::skip;
use service::{RELOAD, Service};

const LIMITS: &str = "[thresholds.incoming]\ntotal = { pps = 10_000 }\n";

/// The CPUs that a thread may run on, as `0-1,3` in `/proc`.
fn cpus(status: &Path) -> Vec<usize> {
    let status = fs::read_to_string(status).unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    list.trim().split(',').flat_map(range).collect()
}

fn ours() -> Vec<usize> {
    cpus(Path::new("/proc/thread-self/status"))
}

/// The CPUs of each thread whose name begins so, in order of the threads.
fn threads(service: &Service, front: &str) -> Vec<Vec<usize>> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", service.child.id())).unwrap() {
        let task = task.unwrap().path();
        // A thread may have ended since.
        let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
        if name.starts_with(front) {
            let id: u32 = task.file_name().unwrap().to_str().unwrap().parse().unwrap();
            found.push((id, cpus(&task.join("status"))));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, cpus)| cpus).collect()
}

/// The CPUs of workers as `tidewall status` has them.
fn told(service: &Service) -> Vec<Option<usize>> {
    let status = service.status();
    let workers = status["workers"].as_array().unwrap().iter();
    workers.map(|worker| worker["cpu"].as_u64().map(|cpu| cpu as usize)).collect()
}

fn started(more: &str, wrapper: &[&str]) -> Service {
    let mut service = Service::prepared();
    service.more = format!("{more}\n");
    service.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    service.configure(LIMITS);
    service.run();
    service
}

/// Waits until workers are bound to these, in turn.
fn wait_for(service: &mut Service, wanted: &[usize]) {
    let workers = service.status()["workers"].as_array().unwrap().len();
    let each: Vec<usize> = wanted.iter().copied().cycle().take(workers).collect();
    service.wait_for("workers on their CPUs", |service| {
        told(service) == each.iter().copied().map(Some).collect::<Vec<_>>()
    });
    let mut sorted: Vec<_> = each.iter().map(|cpu| vec![*cpu]).collect();
    sorted.sort_unstable();
    let mut are = threads(service, "worker-");
    are.sort_unstable();
    assert_eq!(are, sorted, "what the kernel says");
}

#[test]
fn each_worker_has_its_cpu_and_nothing_else_is_bound() {
    let ours = ours();
    let mut service = started("pin_workers = true", &[]);
    wait_for(&mut service, &ours);
    assert_eq!(threads(&service, "detector"), std::slice::from_ref(&ours));
    assert_eq!(threads(&service, "tidewall"), std::slice::from_ref(&ours), "the main thread");
    // More workers, and fewer: they stay dealt out evenly.
    for workers in [3, 1, 2] {
        let text = fs::read_to_string(service.path("tidewall.toml")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("workers"));
        let text = lines.collect::<Vec<_>>().join("\n");
        let text = text.replace("[listen]", &format!("[listen]\nworkers = {workers}"));
        fs::write(service.path("tidewall.toml"), text).unwrap();
        service.data(RELOAD);
        assert_eq!(told(&service).len(), 2 * workers);
        wait_for(&mut service, &ours);
    }
    assert_eq!(service.end("-TERM").0, Some(0));
}

#[test]
fn nothing_is_bound_unless_it_is_wished() {
    for more in ["", "pin_workers = false"] {
        let service = started(more, &[]);
        // Workers hear what they are told ten times a second.
        std::thread::sleep(std::time::Duration::from_millis(400));
        assert_eq!(threads(&service, "worker-"), [ours(), ours()], "{more}");
        assert_eq!(told(&service), [None, None]);
    }
}

#[test]
fn a_cpu_that_is_not_ours_is_told_once_and_left_out() {
    let last = *ours().last().unwrap();
    let mut service = started(&format!("pin_workers = [1000, {last}]"), &[]);
    wait_for(&mut service, &[last]);
    assert_eq!(service.log().matches("may not use: 1000; left out").count(), 1);
    // With none of them it runs all the same.
    let service = started("pin_workers = [1000]", &[]);
    assert_eq!(service.log().matches("no worker is bound").count(), 1, "{}", service.log());
    assert_eq!(threads(&service, "worker-"), [ours(), ours()]);
}

#[test]
fn a_service_that_is_kept_on_one_cpu_stays_there() {
    let [first, .., last] = ours()[..] else {
        println!("skipped: there is one CPU");
        return;
    };
    if Command::new("taskset").arg("--version").output().is_err() {
        skip("a_service_that_is_kept_on_one_cpu_stays_there", "`taskset`");
        return;
    }
    let confined = ["taskset", "-c", &last.to_string()];
    let mut service = started("pin_workers = true", &confined);
    wait_for(&mut service, &[last]);
    let service = started(&format!("pin_workers = [{first}]"), &confined);
    assert_eq!(threads(&service, "worker-"), [[last], [last]]);
    assert!(service.log().contains(&format!("may not use: {first}; ")), "{}", service.log());
}
