//! What happens in the demo.

use std::path::Path;
use std::time::Duration;

use claudemesh_core::config::{Config, MeshEntry};
use claudemesh_core::id::MessageId;
use claudemesh_core::peer::{InviteOptions, Outgoing, Peer, Receipt, Received};
use claudemesh_core::session::Retry;

use super::Teller;
use super::broker::Broker;
use super::search;
use crate::exit::{Code, Failure};

/// In every text of the demo, so that any of them can be looked for.
const CANARY: &str = "canary-7f3a";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn tell(dir: &Path, teller: &mut Teller) -> Result<(), Failure> {
    teller.step("A broker starts, as a process of its own")?;
    let mut broker = Broker::start(&dir.join("broker"), 0).await?;
    teller.see(format!("process {}, {}", broker.pid(), broker.url()))?;

    teller.step("Ana makes a mesh")?;
    let mut config = Config::load(dir.join("ana"))?;
    let entry = config.create("demo", broker.url(), "ana").await?.mesh;
    let ana = open(&entry).await?;
    teller.see(format!(
        "mesh {}, owner's key {}",
        entry.mesh_id,
        ana.key().short()
    ))?;

    teller.step("Bob and Cleo join by one link, good for two")?;
    let options = InviteOptions {
        uses: 2,
        ..InviteOptions::default()
    };
    let link = ana.invite(options).await?.issued.link();
    let bob_entry = join(dir, "bob", &link).await?;
    let cleo_entry = join(dir, "cleo", &link).await?;
    let bob = open(&bob_entry).await?;
    teller.see("their keys were made on their side; the broker has the public halves only")?;
    let number = bob.safety_number(&ana.key());
    expect(
        number == ana.safety_number(&bob.key()),
        "the safety numbers differ",
    )?;
    teller.see(format!("Ana and Bob both see the safety number {number}"))?;

    teller.step("Ana and Bob talk, end-to-end encrypted")?;
    let sent = say(&ana, "bob", "Hello Bob!").await?;
    delivered(&sent).await?;
    let got = next(&bob).await?;
    expect(
        got.id == *sent.id() && got.from.verified,
        "Bob got something else",
    )?;
    teller.see(format!(
        "Bob reads: {:?}, verified from {}",
        got.text(),
        name(&got)
    ))?;
    let answer = got.reply(text("Hello Ana!")).await?;
    delivered(&answer).await?;
    let got = next(&ana).await?;
    expect(
        got.reply_to.as_ref() == Some(sent.id()),
        "the answer names another message",
    )?;
    teller.see(format!(
        "Ana reads: {:?}, verified from {}",
        got.text(),
        name(&got)
    ))?;

    teller.step("Cleo is away; Ana and Bob write to her all the same")?;
    let mut expected: Vec<MessageId> = Vec::new();
    for (peer, words) in [(&ana, "For later, from Ana"), (&bob, "For later, from Bob")] {
        let receipt = say(peer, "cleo", words).await?;
        accepted(&receipt).await?;
        expected.push(receipt.id().clone());
    }
    teller.see("the broker has accepted two messages: they are on its disk, sealed")?;

    teller.step("The broker is killed (SIGKILL), and Ana goes on writing")?;
    let pid = broker.pid();
    broker.kill().await?;
    teller.see(format!(
        "process {pid} is dead; it could not write anything down"
    ))?;
    let waiting = say(&ana, "cleo", "Written while the broker was dead").await?;
    expected.push(waiting.id().clone());
    teller.see("one more message waits in Ana's outbox, on her disk")?;

    teller.step("The broker starts again: same port, same folder")?;
    broker.restart().await?;
    teller.see(format!("process {}, {}", broker.pid(), broker.url()))?;
    accepted(&waiting).await?;
    teller.see("Ana connected again by herself; what waited was sent")?;

    teller.step("What the broker knows: a look into its files")?;
    look(&dir.join("broker"), teller)?;

    teller.step("Cleo comes back")?;
    let cleo = open(&cleo_entry).await?;
    let mut received = Vec::new();
    while received.len() < expected.len() {
        let got = next(&cleo).await?;
        teller.see(format!("Cleo reads: {:?}, from {}", got.text(), name(&got)))?;
        received.push(got.id);
    }
    let more = cleo.unread(1).await?;
    expected.sort();
    received.sort();
    expect(
        more.is_empty() && expected == received,
        "messages were lost or came twice",
    )?;
    teller.see(format!(
        "{} sent, {} received, the same ids: nothing lost, nothing twice",
        expected.len(),
        received.len()
    ))?;
    delivered(&waiting).await?;
    teller.see("and Ana sees: delivered")?;

    for peer in [&ana, &bob, &cleo] {
        peer.close(Duration::from_secs(1)).await;
    }
    broker.kill().await?;
    teller.done();
    Ok(())
}

async fn join(dir: &Path, name: &str, link: &str) -> Result<MeshEntry, Failure> {
    let mut config = Config::load(dir.join(name))?;
    Ok(config.join(link, name).await?)
}

async fn open(entry: &MeshEntry) -> Result<Peer, Failure> {
    let peer = Peer::builder(entry)
        .retry(Retry::Every(100))
        .connect()
        .await?;
    peer.connected_within(PATIENCE).await?;
    Ok(peer)
}

fn text(words: &str) -> String {
    format!("{words} ({CANARY})")
}

async fn say(from: &Peer, to: &str, words: &str) -> Result<Receipt, Failure> {
    Ok(from.send_message(to, Outgoing::text(text(words))).await?)
}

async fn accepted(receipt: &Receipt) -> Result<(), Failure> {
    within("accepted", async { receipt.accepted().await.map(drop) }).await
}

async fn delivered(receipt: &Receipt) -> Result<(), Failure> {
    within("delivered", receipt.delivered()).await
}

async fn within<E: std::fmt::Display>(
    what: &str,
    work: impl Future<Output = Result<(), E>>,
) -> Result<(), Failure> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(Code::Failed, error.to_string())),
        Err(_) => Err(Failure::new(
            Code::Failed,
            format!("a message was not {what} within {} s", PATIENCE.as_secs()),
        )),
    }
}

/// The next message; taken at once, since the demo holds it.
async fn next(peer: &Peer) -> Result<Received, Failure> {
    let mut incoming = peer.incoming().await?;
    let next = tokio::time::timeout(PATIENCE, incoming.next()).await;
    let Ok(Some(message)) = next else {
        return Err(Failure::new(Code::Failed, "a message did not come"));
    };
    message.taken().await?;
    Ok(message)
}

fn name(message: &Received) -> String {
    let name = message.from.name.as_ref().map(ToString::to_string);
    name.unwrap_or_else(|| message.from.key.short())
}

fn expect(holds: bool, otherwise: &str) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(Code::Failed, otherwise))
    }
}

fn look(dir: &Path, teller: &mut Teller) -> Result<(), Failure> {
    let files = search::files(dir).map_err(|error| {
        Failure::new(
            Code::Io,
            format!("the broker's files cannot be read: {error}"),
        )
    })?;
    let mut bytes = 0;
    for file in &files {
        let name = file.path.strip_prefix(dir).unwrap_or(&file.path);
        teller.see(format!("{} ({} bytes)", name.display(), file.bytes.len()))?;
        bytes += file.bytes.len();
        if search::find(&file.bytes, CANARY.as_bytes()).is_some() {
            let message = format!("a text of a message stands in {}", file.path.display());
            return Err(Failure::new(Code::Failed, message));
        }
    }
    expect(
        bytes > 0,
        "the broker has no files; there was nothing to look into",
    )?;
    // A search that finds nothing proves little unless it can find what is there.
    let finds = |what: &[u8]| {
        files
            .iter()
            .any(|file| search::find(&file.bytes, what).is_some())
    };
    expect(
        finds(b"demo"),
        "the search does not even find the mesh's name",
    )?;
    teller.see(format!(
        "{CANARY:?}, which is in every text: not in any of these files"
    ))?;
    teller.see(
        "the mesh's name, \"demo\", is there: names, keys and who writes to whom when are known",
    )?;
    if let Some(sealed) = files
        .iter()
        .find_map(|file| search::ciphertext(&file.bytes))
    {
        teller.see(format!("a message looks like this there: {sealed}…"))?;
    }
    Ok(())
}
