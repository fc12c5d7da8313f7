//! Sessions with their channels, the router, and the stores of both, under one seed: frames are lost
//! with their connection, delayed and repeated; peers are cut off without anybody noticing; peers and
//! the broker crash between any two outputs and come back with what was durable; stores fail;
//! clocks jump by an hour; two processes share a store; members join channels, leave, and are
//! removed. What delivery and trust promise is checked at the end.
//!
//! `CLAUDEMESH_SIM_COUNT` runs so many seeds (2,000 by default). A failure is made smaller, and the
//! command that repeats it is printed: `CLAUDEMESH_SIM_SEED`, and in `CLAUDEMESH_SIM_PLAN` what is
//! left out.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

#[path = "simulation/books.rs"]
mod books;
#[path = "simulation/broker.rs"]
mod broker;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/sim.rs"]
mod sim;
#[allow(dead_code, reason = "made for the tests of the router")]
#[path = "router/world.rs"]
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use books::Total;
use plan::{Failed, Plan, shrink};
use sim::Sim;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs that may be spent on making a failure smaller.
const SHRINKS: usize = 300;

/// Runs a plan; how it fails, if it does.
fn attempt(plan: &Plan, trace: bool) -> Result<Total, Failed> {
    let mut sim = Sim::new(plan, trace);
    let run = AssertUnwindSafe(|| sim.run());
    std::panic::catch_unwind(run).map_err(|cause| {
        let why = cause.downcast_ref::<String>().cloned();
        let fixed = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
        sim.failed(why.or(fixed).unwrap_or_default())
    })
}

/// Makes a failure as small as it gets, and says how to see it again.
fn explain(plan: &Plan, failed: Failed) -> String {
    let (first, steps, faults) = (failed.why.clone(), failed.steps, failed.faults);
    let (small, now, runs) = shrink(plan, failed, SHRINKS, |plan| attempt(plan, false).err());
    format!(
        "seed {} failed after {steps} steps and {faults} possible faults: {first}\n  {}\n\
         made smaller by {runs} runs to {} steps and {} possible faults: {}\n  {}",
        plan.seed,
        plan.command(),
        now.steps,
        now.faults,
        now.why,
        small.command(),
    )
}

/// While many seeds run, a panic in one is no news of its own: it comes with its seed.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = work();
    std::panic::set_hook(hook);
    done
}

#[test]
fn promises_hold_under_any_order_of_faults() {
    if let Some(seed) = number("CLAUDEMESH_SIM_SEED") {
        let text = std::env::var("CLAUDEMESH_SIM_PLAN").unwrap_or_default();
        let plan = Plan {
            seed,
            ..text.parse().unwrap()
        };
        let total = Sim::new(&plan, true).run();
        eprintln!("{total:?}");
        return;
    }
    let (first, count) = (1, number("CLAUDEMESH_SIM_COUNT").unwrap_or(2_000));
    let start = Instant::now();
    let next = AtomicU64::new(first);
    let failed = Mutex::new(None);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut total = Total::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return total;
            }
            let plan = Plan::among_many(seed);
            match attempt(&plan, false) {
                Ok(one) => total.add(&one),
                Err(why) => {
                    // One is enough.
                    next.store(first + count, Ordering::Relaxed);
                    failed.lock().unwrap().get_or_insert((plan, why));
                }
            }
        }
    };
    let total = quietly(|| {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let mut total = Total::default();
            for worker in workers {
                total.add(&worker.join().unwrap());
            }
            total
        })
    });
    if let Some((plan, why)) = failed.into_inner().unwrap() {
        let text = quietly(|| explain(&plan, why));
        panic!("{text}");
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{count} seeds in {seconds:.1} s: {total:?}");
    if count >= 500 {
        total.check_that_faults_happened();
    }
}

#[test]
fn a_plan_is_read_as_it_is_written() {
    let plan: Plan = "members=2 steps=17 faults=3..9 without=disk+hour"
        .parse()
        .unwrap();
    let again: Plan = plan.to_string().parse().unwrap();
    assert_eq!(plan, again);
    assert_eq!(plan.command().matches("CLAUDEMESH_SIM_PLAN").count(), 1);
    assert_eq!(Plan::of(7).to_string(), "");
    for bad in [
        "steps",
        "steps=x",
        "faults=3",
        "without=rain",
        "weather=rain",
    ] {
        bad.parse::<Plan>().unwrap_err();
    }
}

#[test]
fn the_same_plan_runs_the_same_again() {
    for seed in 1..6 {
        let once = Sim::new(&Plan::of(seed), false).run();
        let again = Sim::new(&Plan::of(seed), false).run();
        assert_eq!(format!("{once:?}"), format!("{again:?}"));
    }
}

#[test]
fn a_failure_is_made_smaller() {
    // Fails as long as two crashes are left, which are the 20th and the 31st fault.
    let run = |plan: &Plan| {
        let steps = plan.steps.unwrap_or(1_000);
        let faults = steps / 10;
        let crashes = [20, 31].iter().filter(|at| **at < faults);
        let left = crashes.filter(|at| plan.allows("crash", **at)).count();
        (left == 2).then(|| Failed {
            steps,
            faults,
            why: "two crashes".to_owned(),
        })
    };
    let whole = Plan::of(1);
    let first = run(&whole).unwrap();
    let (small, failed, runs) = shrink(&whole, first, 300, run);
    assert!(
        failed.steps <= 340 && runs <= 300,
        "{small} {}",
        failed.steps
    );
    let (from, to) = small.faults;
    assert!(from > 10 && to <= 34, "{small}");
    assert_eq!(small.without.len(), plan::FAULTS.len() - 1);
}
