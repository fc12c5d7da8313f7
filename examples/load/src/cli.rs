//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use claudemesh_core::{BrokerUrl, PublicKey};

/// Load and chaos runs against a claudemesh broker
///
/// Unless --url names a running broker, `broker-min` beside this program is started on a free
/// port with a temporary folder, and with limits raised that one machine's load would reach.
#[derive(Debug, Parser)]
#[command(name = "claudemesh-load", version)]
pub(crate) struct Cli {
    /// Print one JSON object on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BrokerArgs {
    /// A running broker, by ws://; its limits and files are then its own
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<BrokerUrl>,
    /// What an accepted message survives at the broker that is started
    #[arg(long, global = true, value_name = "WHAT", default_value = "power")]
    pub(crate) durability: Durability,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// A power cut: every commit waits for the disk
    Power,
    /// The end of the process
    Process,
}

impl Durability {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Process => "process",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pairs: each sender has a recipient of its own
    Pairs(Pairs),
    /// N senders to one recipient, one sender to N recipients by turns, then one sender to all N at
    /// once, by the channel of everyone
    Fanout(Fanout),
    /// Fill the mailboxes of peers who are away, then let them come back
    Drain(Drain),
    /// SIGKILL the broker under N connected peers, start it again, and wait until all are back
    Storm(Many),
    /// Pairs at a rate beside a reader that reads, then beside one that never does
    Slow(Beside),
    /// Pairs at a rate alone, then beside garbage, oversized frames, sockets without a hello and
    /// wrong hellos
    Hostile(Beside),
    /// The broker's memory for each idle peer
    Idle(Idle),
    /// Many messages in laps, each with connections of its own; the broker's memory after each
    Soak(Soak),
    /// SIGKILL real brokers and real peers under load and balance the books
    Kill9(Kill9),
    /// A peer of kill9
    #[command(hide = true)]
    Peer(PeerArgs),
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peers {
    /// Frames sealed beforehand, settled on arrival: the broker's own figures
    Wire,
    /// Real peers, with sealing and stores on the disk
    Full,
}

impl Peers {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Full => "full",
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Shape {
    /// Bytes of a message before it is sealed
    #[arg(long, default_value_t = 300, value_parser = size)]
    pub(crate) size: usize,
    /// For how long: 500ms, 15s, 2m
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Unanswered sends of each sender at most
    #[arg(long, default_value_t = 64, value_parser = some)]
    pub(crate) window: usize,
    /// Messages a second of all senders together; without it, as many as go
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Who speaks
    #[arg(long, default_value = "wire")]
    pub(crate) peers: Peers,
    /// Messages only for who is connected: the broker keeps nothing, nobody settles. By wire
    #[arg(long)]
    pub(crate) online: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pairs {
    /// How many pairs
    #[arg(long, default_value_t = 50, value_parser = some)]
    pub(crate) pairs: usize,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Fanout {
    /// How many on the wide side
    #[arg(long, default_value_t = 50, value_parser = some)]
    pub(crate) wide: usize,
    #[command(flatten)]
    pub(crate) shape: Shape,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// How many are away
    #[arg(long, default_value_t = 100, value_parser = some)]
    pub(crate) away: usize,
    /// Messages for each of them
    #[arg(long, default_value_t = 1_000, value_parser = some)]
    pub(crate) messages: usize,
    /// Bytes of a message before it is sealed
    #[arg(long, default_value_t = 300, value_parser = size)]
    pub(crate) size: usize,
    /// Who comes back
    #[arg(long, default_value = "full")]
    pub(crate) peers: Peers,
}

#[derive(Debug, Args)]
pub(crate) struct Many {
    /// How many peers
    #[arg(default_value_t = 1_000, value_parser = some)]
    pub(crate) count: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// How many peers
    #[arg(default_value_t = 2_000, value_parser = some)]
    pub(crate) count: usize,
    /// For how long they stay before the broker is measured
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub(crate) duration: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// How many messages at least, in all
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) messages: u64,
    /// For how long each lap sends
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub(crate) lap: Duration,
    /// How many pairs
    #[arg(long, default_value_t = 50, value_parser = some)]
    pub(crate) pairs: usize,
    /// Bytes of a message before it is sealed
    #[arg(long, default_value_t = 300, value_parser = size)]
    pub(crate) size: usize,
    /// Messages a second of all senders together; without it, as many as go
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Beside {
    /// How many pairs
    #[arg(long, default_value_t = 10, value_parser = some)]
    pub(crate) pairs: usize,
    /// Messages a second of all pairs together
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Bytes of a message before it is sealed
    #[arg(long, default_value_t = 300, value_parser = size)]
    pub(crate) size: usize,
    /// For how long each of the two halves
    #[arg(long, default_value = "8s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// hostile: attackers at once
    #[arg(long, default_value_t = 4, value_parser = some)]
    pub(crate) attackers: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Kill9 {
    /// How often somebody is killed
    #[arg(long, default_value_t = 20)]
    pub(crate) rounds: u32,
    /// What the moments are drawn from; the same seed draws the same kills
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How many peers, 2 or more
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=64))]
    pub(crate) processes: u8,
    /// Messages a second of each peer
    #[arg(long, default_value_t = 200)]
    pub(crate) rate: u32,
    /// The longest time between two kills
    #[arg(long, default_value = "1500ms", value_parser = duration)]
    pub(crate) pace: Duration,
    /// For how long the books may take to balance at the end
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) quiet: Duration,
    /// Where to leave journals and stores; by default they go
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// The folder of its configuration, with one mesh
    #[arg(long)]
    pub(crate) config: PathBuf,
    /// What it appends to
    #[arg(long)]
    pub(crate) journal: PathBuf,
    /// Messages a second
    #[arg(long)]
    pub(crate) rate: u32,
    /// To whom it sends, in turn
    #[arg(long, value_delimiter = ',', value_parser = key)]
    pub(crate) to: Vec<PublicKey>,
}

fn key(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_hex(text).map_err(|error| error.to_string())
}

/// A number of peers, pairs or messages: one or more.
fn some(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|n| (1..=1_000_000).contains(n));
    number.ok_or_else(|| "a number from 1 to 1000000".to_owned())
}

fn size(text: &str) -> Result<usize, String> {
    let most = claudemesh_core::message::MAX_BODY;
    let size = text.parse().ok().filter(|size| *size <= most);
    size.ok_or_else(|| format!("a number of bytes up to {most}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    let parsed = number.parse::<u64>().ok().and_then(|n| n.checked_mul(ms));
    let parsed = parsed.filter(|ms| (1..=86_400_000).contains(ms));
    parsed
        .map(Duration::from_millis)
        .ok_or_else(|| "such as 500ms, 15s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "5", "s", "0s", "-1s", "1h", "99999999999999999999s"] {
            duration(bad).unwrap_err();
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
