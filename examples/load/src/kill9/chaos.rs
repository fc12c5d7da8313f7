//! Who is killed, and when.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use super::{Place, broker_file, peer};
use crate::broker::Broker;
use crate::error::{During as _, LoadError};

/// The longest time for which somebody stays dead.
const DEAD_MS: u64 = 400;
/// The shortest time between two kills.
const SOON_MS: u64 = 50;

/// Random numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % limit.max(1)
    }
}

/// Draws the kills.
pub(super) struct Chaos {
    dice: Dice,
    pace_ms: u64,
    pub(super) broker_kills: u32,
    pub(super) peer_kills: u32,
    /// How often the broker's file was checked.
    pub(super) checks: u32,
}

impl Chaos {
    pub(super) fn new(seed: u64, pace: Duration) -> Self {
        Self {
            dice: Dice(seed),
            pace_ms: u64::try_from(pace.as_millis()).unwrap_or(u64::MAX),
            broker_kills: 0,
            peer_kills: 0,
            checks: 0,
        }
    }

    /// Waits a while, kills the broker, a peer or everyone, and starts them again.
    pub(super) async fn round(
        &mut self,
        broker: &mut Broker,
        crew: &mut Crew,
        places: &[Place],
    ) -> Result<(), LoadError> {
        let wait = SOON_MS + self.dice.below(self.pace_ms.saturating_sub(SOON_MS));
        let what = self.dice.below(10);
        let victim = usize::try_from(self.dice.below(crew.count())).unwrap_or(0);
        let dead = self.dice.below(DEAD_MS);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        crew.check()?;
        let (kills_broker, victims) = match what {
            0..=4 => (true, 0..0),
            5..=8 => (false, victim..victim + 1),
            _ => (true, 0..places.len()),
        };
        if kills_broker {
            broker.kill().await?;
            self.broker_kills += 1;
        }
        for place in victims.clone() {
            crew.kill(place).await?;
            self.peer_kills += 1;
        }
        if let Some(file) = broker.file().filter(|_| kills_broker) {
            broker_file::check(&file)?;
            self.checks += 1;
        }
        tokio::time::sleep(Duration::from_millis(dead)).await;
        if kills_broker {
            broker.restart().await?;
        }
        for place in victims {
            crew.restart(place, places)?;
        }
        Ok(())
    }
}

/// The peer processes.
pub(super) struct Crew {
    rate: u32,
    children: Vec<Child>,
}

impl Crew {
    pub(super) fn start(places: &[Place], rate: u32) -> Result<Self, LoadError> {
        let children = (0..places.len()).map(|place| spawn(places, place, rate));
        let children = children.collect::<Result<_, _>>()?;
        Ok(Self { rate, children })
    }

    fn count(&self) -> u64 {
        u64::try_from(self.children.len()).unwrap_or(u64::MAX)
    }

    /// Nobody may end by itself.
    fn check(&mut self) -> Result<(), LoadError> {
        for child in &mut self.children {
            if let Some(status) = child.try_wait().during("a peer")? {
                return Err(LoadError::step("a peer ended by itself", status));
            }
        }
        Ok(())
    }

    async fn kill(&mut self, place: usize) -> Result<(), LoadError> {
        match self.children.get_mut(place) {
            Some(child) => child.kill().await.during("killing a peer"),
            None => Ok(()),
        }
    }

    fn restart(&mut self, place: usize, places: &[Place]) -> Result<(), LoadError> {
        if let Some(child) = self.children.get_mut(place) {
            *child = spawn(places, place, self.rate)?;
        }
        Ok(())
    }

    /// Nobody sends any more.
    pub(super) async fn quiet(&mut self) -> Result<(), LoadError> {
        self.check()?;
        for child in &mut self.children {
            if let Some(stdin) = &mut child.stdin {
                let line = format!("{}\n", peer::QUIET);
                stdin
                    .write_all(line.as_bytes())
                    .await
                    .during("a peer's stdin")?;
            }
        }
        Ok(())
    }

    /// Everyone ends properly.
    pub(super) async fn end(&mut self, limit: Duration) -> Result<(), LoadError> {
        self.check()?;
        for child in &mut self.children {
            drop(child.stdin.take());
        }
        for child in &mut self.children {
            let ended = tokio::time::timeout(limit, child.wait()).await;
            let status = ended.during("a peer did not end")?.during("a peer")?;
            if !status.success() {
                return Err(LoadError::step("a peer ended badly", status));
            }
        }
        Ok(())
    }
}

fn spawn(places: &[Place], place: usize, rate: u32) -> Result<Child, LoadError> {
    let own = places.get(place);
    let own = own.ok_or_else(|| LoadError::Usage(format!("there is no peer {place}")))?;
    let others = places.iter().filter(|other| other.key != own.key);
    let others: Vec<String> = others.map(|other| other.key.to_hex()).collect();
    let program = std::env::current_exe().during("where this program lies")?;
    let mut command = Command::new(program);
    command
        .arg("peer")
        .arg("--config")
        .arg(&own.config)
        .arg("--journal")
        .arg(&own.journal);
    command.args(["--rate", &rate.to_string(), "--to", &others.join(",")]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command.spawn().during("starting a peer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_again() {
        let draw = |seed| -> Vec<u64> {
            let mut dice = Dice(seed);
            (0..8).map(|_| dice.below(1_000)).collect()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
