//! The real peers and the real broker, with all that stands between their machines and a socket,
//! over a simulated network: it is cut, held and slow, the broker is gone without a word and comes
//! back on what it had on its disk. Everything arrives, once and in order.
//!
//! The network is drawn from a seed; the stores have threads of their own, so a run is not the same
//! to the last step. `CLAUDEMESH_TURMOIL_SEED` runs one seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests are not seen as tests"
)]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker_min::Broker;
use broker_min::Durability;
use claudemesh_core::crypto::Drbg;
use claudemesh_core::{ByteStream, Config, InviteOptions, MeshEntry, Network, Peer, Receipt};
use tokio::sync::mpsc;
use turmoil::net::{TcpListener, TcpStream};

type Anyhow<T> = Result<T, Box<dyn std::error::Error>>;

const PORT: u16 = 7_900;
const BROKER: &str = "broker";
const NAMES: [&str; 2] = ["ana", "ben"];
/// Messages that each says to the other.
const MESSAGES: usize = 25;
/// Simulated time for everything, far more than it takes.
const LONG: Duration = Duration::from_secs(1_800);

/// By the simulated network.
fn network() -> Network {
    Network::new().dialer(async |host: String, port| {
        let stream = TcpStream::connect((host, port)).await?;
        Ok(Box::new(stream) as Box<dyn ByteStream>)
    })
}

async fn serve(dir: PathBuf) -> Anyhow<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
    let (arrived, streams) = mpsc::channel(16);
    let local = listener.local_addr()?;
    let _broker = Broker::builder()
        .data_dir(dir)
        .durability(Durability::Process)
        .public_url(format!("ws://{BROKER}:{PORT}/ws").parse()?)
        .serve_streams(streams, local)
        .await?;
    loop {
        let (stream, from) = listener.accept().await?;
        let stream: Box<dyn ByteStream> = Box::new(stream);
        arrived.send((stream, from)).await?;
    }
}

/// What the two and the test share.
#[derive(Default)]
struct Shared {
    link: Mutex<Option<String>>,
    /// What each was shown, in order.
    shown: [Mutex<Vec<String>>; 2],
    ready: Mutex<usize>,
    done: Mutex<usize>,
    /// What happened to each, for a failure.
    events: [Mutex<Vec<String>>; 2],
    /// Ids of what each sent.
    receipts: [Mutex<Vec<Receipt>>; 2],
}

impl Shared {
    /// How far it came, for a failure.
    fn told(&self) -> String {
        let shown = self.shown.each_ref().map(|who| who.lock().unwrap().len());
        let ready = *self.ready.lock().unwrap();
        for who in [0, 1] {
            let name = NAMES[who];
            for event in self.events[who].lock().unwrap().iter() {
                eprintln!("{name} {event}");
            }
            for receipt in self.receipts[who].lock().unwrap().iter() {
                eprintln!("{name} {} {:?}", receipt.id(), receipt.state());
            }
        }
        format!("{ready} ready, shown {shown:?} of {MESSAGES}")
    }
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Tries until it works: the network is what it is.
async fn insist<T, E: std::fmt::Display>(mut work: impl AsyncFnMut() -> Result<T, E>) -> T {
    loop {
        match work().await {
            Ok(done) => return done,
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

async fn join(who: usize, shared: &Shared) -> MeshEntry {
    let mut config = Config::in_memory();
    config.set_network(network());
    if who == 0 {
        let url = format!("ws://{BROKER}:{PORT}/ws").parse().unwrap();
        return insist(async || config.create("team", &url, NAMES[0]).await)
            .await
            .mesh;
    }
    until(|| shared.link.lock().unwrap().is_some()).await;
    let link = shared.link.lock().unwrap().clone().unwrap();
    insist(async || config.join(&link, NAMES[who]).await).await
}

/// One of the two: says so many messages to the other, takes what the other says, and waits until
/// all that it said is with the other.
async fn person(who: usize, dir: PathBuf, shared: Arc<Shared>) -> Anyhow<()> {
    let entry = join(who, &shared).await;
    let builder = Peer::builder(&entry).network(network()).data_dir(dir);
    let peer = builder.connect().await?;
    let mut events = peer.events();
    let noted = Arc::clone(&shared);
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let at = turmoil::elapsed();
            let line = format!("{at:?} {event:?}");
            noted.events[who].lock().unwrap().push(line);
        }
    });
    if who == 0 {
        let invite = insist(async || peer.invite(InviteOptions::default()).await).await;
        *shared.link.lock().unwrap() = Some(invite.issued.link());
    }
    let other = 1 - who;
    let key = loop {
        let members = peer.members();
        if let Some(member) = members.iter().find(|m| m.name.as_str() == NAMES[other]) {
            break member.key;
        }
        let _ = peer.sync().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    *shared.ready.lock().unwrap() += 1;
    let mut incoming = peer.incoming().await?;
    let say = async {
        let mut receipts = Vec::new();
        for number in 0..MESSAGES {
            let receipt = peer.send(key, format!("{number}")).await?;
            shared.receipts[who].lock().unwrap().push(receipt.clone());
            receipts.push(receipt);
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        for receipt in receipts {
            receipt.delivered().await?;
        }
        Anyhow::Ok(())
    };
    let hear = async {
        while shared.shown[who].lock().unwrap().len() < MESSAGES {
            let message = incoming.next().await.ok_or("it ended")?;
            assert!(!message.again, "nobody crashed who reads");
            shared.shown[who].lock().unwrap().push(message.text());
            message.taken().await?;
        }
        Anyhow::Ok(())
    };
    let (said, heard) = tokio::join!(say, hear);
    said.and(heard)?;
    // Who leaves while the network is cut takes with it what the broker was to be told of the last
    // messages, and the other would wait for its receipts until it comes back.
    *shared.done.lock().unwrap() += 1;
    until(|| *shared.done.lock().unwrap() == NAMES.len()).await;
    peer.close(Duration::from_secs(1)).await;
    Ok(())
}

/// What happened to the network.
#[derive(Default, Debug)]
struct Weather {
    cuts: u32,
    holds: u32,
    crashes: u32,
}

/// Lets something happen to the network, or makes it good again.
fn weather(sim: &mut turmoil::Sim<'_>, rng: &mut Drbg, past: &mut Weather) {
    let who = NAMES[usize::from(rng.below(2) == 0)];
    match rng.below(8) {
        0 | 1 => {
            sim.partition(who, BROKER);
            past.cuts += 1;
        }
        2 => {
            sim.partition_oneway(who, BROKER);
            past.cuts += 1;
        }
        3 => {
            sim.hold(who, BROKER);
            past.holds += 1;
        }
        4 => {
            sim.bounce(BROKER);
            past.crashes += 1;
        }
        _ => calm(sim),
    }
}

fn calm(sim: &turmoil::Sim<'_>) {
    for who in NAMES {
        sim.repair(who, BROKER);
        sim.release(who, BROKER);
    }
}

fn run(seed: u64) -> Weather {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut rng = Drbg::new(bytes);
    let mut sim = turmoil::Builder::new()
        .simulation_duration(LONG)
        .tick_duration(Duration::from_millis(2))
        .max_message_latency(Duration::from_millis(80))
        .rng_seed(seed)
        .build();
    let data = dir.path().join("broker");
    sim.host(BROKER, move || serve(data.clone()));
    let shared = Arc::new(Shared::default());
    for who in [0, 1] {
        let place = dir.path().join(NAMES[who]);
        std::fs::create_dir(&place).unwrap();
        sim.client(NAMES[who], person(who, place, Arc::clone(&shared)));
    }
    let mut past = Weather::default();
    let mut next = Duration::from_secs(1);
    loop {
        // The stores' threads live by the real clock: it must not stand still.
        std::thread::sleep(Duration::from_micros(20));
        if sim
            .step()
            .unwrap_or_else(|error| panic!("seed {seed}, {past:?}, {}: {error}", shared.told()))
        {
            break;
        }
        let now = sim.elapsed();
        if now < next || *shared.ready.lock().unwrap() < 2 {
            continue;
        }
        next = now + Duration::from_millis(300 + rng.below(4_000));
        // Bad weather ends, so that it can be seen what came of it.
        if past.cuts + past.holds + past.crashes < 12 {
            weather(&mut sim, &mut rng, &mut past);
        } else {
            calm(&sim);
        }
    }
    let wanted: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    for who in [0, 1] {
        let shown = shared.shown[who].lock().unwrap();
        assert_eq!(*shown, wanted, "seed {seed}: {} was shown", NAMES[who]);
    }
    past
}

#[test]
fn all_arrives_once_and_in_order_whatever_the_network_does() {
    let one = std::env::var("CLAUDEMESH_TURMOIL_SEED").ok();
    let seeds = one.map_or(1..=6, |seed| {
        let seed = seed.parse().unwrap();
        seed..=seed
    });
    for seed in seeds {
        let past = run(seed);
        eprintln!("seed {seed}: {past:?}");
    }
}
