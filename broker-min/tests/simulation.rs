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

use std::time::Instant;

use books::Total;
use sim::Sim;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn promises_hold_under_any_order_of_faults() {
    let one = number("CLAUDEMESH_SIM_SEED");
    let (first, count) = match one {
        Some(seed) => (seed, 1),
        None => (1, number("CLAUDEMESH_SIM_COUNT").unwrap_or(2_000)),
    };
    let start = Instant::now();
    let mut total = Total::default();
    for seed in first..first + count {
        let run = std::panic::catch_unwind(|| {
            let mut sim = Sim::new(seed, one.is_some());
            sim.run()
        });
        match run {
            Ok(one) => total.add(&one),
            Err(cause) => {
                eprintln!(
                    "seed {seed} failed; run it again with\n  CLAUDEMESH_SIM_SEED={seed} \
                     cargo test -p broker-min --test simulation -- --nocapture"
                );
                std::panic::resume_unwind(cause);
            }
        }
    }
    eprintln!(
        "{count} seeds in {:.1} s: {total:?}",
        start.elapsed().as_secs_f64()
    );
    if one.is_none() && count >= 500 {
        total.check_that_faults_happened();
    }
}
