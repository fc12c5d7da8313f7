//! Sessions with their channels, the router, and the stores of both, under one seed: frames are lost
//! with their connection, delayed and repeated; peers and the broker crash between any two outputs
//! and come back with what was durable; stores fail; clocks pass; members join channels, leave, and
//! are removed. What delivery and trust promise is checked at the end.
//!
//! `CLAUDEMESH_SIM_SEED` runs one seed, `CLAUDEMESH_SIM_COUNT` so many (2,000 by default).

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
#[path = "simulation/sim.rs"]
mod sim;
#[allow(dead_code, reason = "made for the tests of the router")]
#[path = "router/world.rs"]
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use books::Total;
use sim::Sim;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, trace: bool) -> Total {
    let run = std::panic::catch_unwind(|| Sim::new(seed, trace).run());
    run.unwrap_or_else(|cause| {
        eprintln!(
            "seed {seed} failed; run it again with\n  CLAUDEMESH_SIM_SEED={seed} \
             cargo test -p broker-min --test simulation -- --nocapture"
        );
        std::panic::resume_unwind(cause)
    })
}

#[test]
fn promises_hold_under_any_order_of_faults() {
    let one = number("CLAUDEMESH_SIM_SEED");
    let (first, count) = match one {
        Some(seed) => (seed, 1),
        None => (1, number("CLAUDEMESH_SIM_COUNT").unwrap_or(2_000)),
    };
    let start = Instant::now();
    let next = AtomicU64::new(first);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut total = Total::default();
    thread::scope(|scope| {
        let work = || {
            let mut total = Total::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return total;
                }
                total.add(&run(seed, one.is_some()));
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(one) => total.add(&one),
                Err(cause) => std::panic::resume_unwind(cause),
            }
        }
    });
    eprintln!(
        "{count} seeds in {:.1} s: {total:?}",
        start.elapsed().as_secs_f64()
    );
    if one.is_none() && count >= 500 {
        total.check_that_faults_happened();
    }
}
