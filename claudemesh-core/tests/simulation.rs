//! Sessions, their stores and a model of a broker under one seed: frames are dropped with their
//! connection, delayed and repeated, processes crash between any two outputs, stores fail. What
//! the promises say is checked at the end.
//!
//! `CLAUDEMESH_SIM_SEED` runs one seed, `CLAUDEMESH_SIM_COUNT` so many (300 by default).

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)] // Helpers of tests fail as tests do.

#[path = "simulation/broker.rs"]
mod broker;
mod support;
#[path = "simulation/world.rs"]
mod world;

use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order() {
    let one = number("CLAUDEMESH_SIM_SEED");
    let (first, count) = match one {
        Some(seed) => (seed, 1),
        None => (1, number("CLAUDEMESH_SIM_COUNT").unwrap_or(300)),
    };
    let mut total = world::Books::default();
    for seed in first..first + count {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            world.books
        });
        match run {
            Ok(books) => total.add(&books),
            Err(cause) => {
                eprintln!(
                    "seed {seed} failed; run it again with\n  CLAUDEMESH_SIM_SEED={seed} \
                     cargo test -p claudemesh-core --test simulation"
                );
                std::panic::resume_unwind(cause);
            }
        }
    }
    eprintln!("{total:?}");
    if one.is_none() && count >= 100 {
        // The faults must have happened for the checks to mean something.
        assert!(total.taken > 1_000 && total.crashes > 50 && total.disconnects > 50);
        assert!(total.store_errors > 50 && total.again > 5 && total.duplicates > 20);
    }
}
