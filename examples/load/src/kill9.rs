//! `kill9`: real processes, killed at random moments, and what is left of every promise.
//!
//! The broker and every peer are processes of their own. Each peer appends to a journal what it
//! sent, what the broker accepted, what it was offered and what it took; a SIGKILL leaves every
//! line that was written. At the end, when nobody is killed any more and all has had time to
//! arrive, the journals and the stores are balanced.

mod books;
mod broker_file;
mod chaos;
mod journal;
mod peer;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use claudemesh_core::{Config, PublicKey};
use serde_json::json;

use crate::broker::Broker;
use crate::cli::Kill9;
use crate::error::{During as _, LoadError};
use crate::members::{Mesh, random};
use crate::report::{Report, rounded};
use books::Books;
use chaos::{Chaos, Crew};

pub(crate) use peer::run as peer;

/// The time between two looks at the journals at the end.
const LOOK: Duration = Duration::from_millis(300);
/// For how long a peer may take to end by itself.
const GOODBYE: Duration = Duration::from_secs(10);

/// One peer's folders.
struct Place {
    config: PathBuf,
    journal: PathBuf,
    key: PublicKey,
}

pub(crate) async fn run(
    args: &Kill9,
    mut broker: Broker,
    report: &Report,
) -> Result<bool, LoadError> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => u64::from(u32::from_le_bytes(random()?)),
    };
    let temp = tempfile::tempdir().during("a folder for the peers")?;
    let dir = args.keep.as_deref().unwrap_or_else(|| temp.path());
    let places = join(args, &broker, dir).await?;
    let mut crew = Crew::start(&places, args.rate)?;
    let begun = Instant::now();
    let mut chaos = Chaos::new(seed, args.pace);
    let bar = report.bar(args.rounds.into(), "killing");
    for _ in 0..args.rounds {
        chaos.round(&mut broker, &mut crew, &places).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();

    crew.quiet().await?;
    let late = Instant::now() + args.quiet;
    loop {
        tokio::time::sleep(LOOK).await;
        if read(&places)?.is_balanced() || Instant::now() >= late {
            break;
        }
    }
    crew.end(GOODBYE).await?;
    // Killed once more, so that what is read is what was on the disk.
    broker.kill().await?;
    let mut books = read(&places)?;
    for place in &places {
        books.read_store(&place.config)?;
    }
    if let Some(file) = broker.file() {
        broker_file::check(&file)?;
        books.waiting_at_broker(broker_file::waiting(&file)?);
    }
    let balance = books.balance();
    for line in &balance.complaints {
        report.note(&format!("seed {seed}: {line}"));
    }
    let answer = json!({
        "accepted": balance.accepted,
        "delivered": balance.delivered,
        "queued": balance.queued,
        "lost": balance.lost,
        "duplicated": balance.duplicated,
        "out_of_order": balance.out_of_order,
        "shown_again": balance.again,
        "failed": balance.failed,
        "unanswered": balance.unanswered,
        "rounds": args.rounds,
        "kills": {"broker": chaos.broker_kills, "peer": chaos.peer_kills},
        "integrity_checks": chaos.checks + 1,
        "seed": seed,
        "seconds": rounded(begun.elapsed().as_secs_f64()),
    });
    report.answer(&answer)?;
    let fine = balance.lost == 0 && balance.duplicated == 0 && balance.out_of_order == 0;
    if !fine {
        report.note(&format!(
            "again with --seed {seed}; --keep DIR leaves the journals"
        ));
    }
    Ok(fine)
}

/// Makes a mesh and a member in each peer's folder.
async fn join(args: &Kill9, broker: &Broker, dir: &Path) -> Result<Vec<Place>, LoadError> {
    let mesh = Mesh::make(broker.url()).await?;
    let (invite, _) = mesh.invite(args.processes.into()).await?;
    let link = invite.issued.link();
    let mut places = Vec::new();
    for number in 1..=args.processes {
        let config = dir.join(format!("peer-{number}"));
        let journal = dir.join(format!("peer-{number}.journal"));
        if config.exists() || journal.exists() {
            let text = format!("{} was used before; choose a fresh --keep", dir.display());
            return Err(LoadError::Usage(text));
        }
        let mut loaded = Config::load(&config).during("a peer's configuration")?;
        let joined = loaded.join(&link, &format!("peer-{number}")).await;
        let key = joined.during("joining")?.pubkey();
        places.push(Place {
            config,
            journal,
            key,
        });
    }
    Ok(places)
}

fn read(places: &[Place]) -> Result<Books, LoadError> {
    let mut books = Books::default();
    for place in places {
        books.read_journal(&place.key.to_hex(), &journal::read(&place.journal)?);
    }
    Ok(books)
}
