//! The way of a message: is it hidden from those in between, and does one arrive.

use std::time::Duration;

use claudemesh_core::config::SessionKeys;
use claudemesh_core::id::SessionName;
use claudemesh_core::peer::{Outgoing, Peer};
use claudemesh_core::session::Retry;
use tokio::time::Instant;

use super::{Level, Report};
use crate::context::Context;
use crate::exit::{Code, Failure};

/// The session that the message goes to, so that it is in nobody's inbox.
const SESSION: &str = "doctor";
/// How long the message may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked whether it is there.
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn tls(peer: &Peer, report: &mut Report) {
    let mesh = Some(peer.mesh());
    let url = peer.mesh().broker_url.to_string();
    let rest = url.strip_prefix("ws://");
    let is_local = rest.is_some_and(|rest| {
        let own = ["127.0.0.1", "localhost", "[::1]"];
        own.iter().any(|host| rest.starts_with(host))
    });
    match rest {
        Some(_) if is_local => report.add("tls", mesh, Level::Ok, "not needed on this machine"),
        Some(_) => report.add(
            "tls",
            mesh,
            Level::Warn,
            "there is none: texts are sealed, but who writes to whom is in the open on the way. Have \
             the broker serve wss:// and run `claudemesh set-url`",
        ),
        None if peer.is_connected() => {
            report.add("tls", mesh, Level::Ok, "the broker's certificate is good");
        }
        // Why it is not reached stands with the broker.
        None => {}
    }
}

/// Sends a message to a session of one's own, and waits until it is there.
pub(super) async fn itself(context: &Context, peer: &Peer, report: &mut Report) {
    // Without a log nobody vouches for a session, and nothing is sealed for one.
    if !peer.is_connected() || peer.log().is_none() {
        return;
    }
    let mesh = Some(peer.mesh());
    match round_trip(context, peer).await {
        Ok(took) => {
            let message = format!("there and back in {} ms", took.as_millis());
            report.add("message", mesh, Level::Ok, message);
        }
        Err(failure) => {
            let message = format!("a message to oneself does not arrive: {failure}");
            report.add("message", mesh, Level::Fail, message);
        }
    }
}

async fn round_trip(context: &Context, peer: &Peer) -> Result<Duration, Failure> {
    let session = SessionKeys::of(peer.mesh())?.open_named(&SessionName::new(SESSION)?)?;
    let key = session.public();
    let builder = context.bare_builder(peer.mesh()).presence(false);
    let own = builder.as_session(session).retry(Retry::Every(100));
    let own = own.connect().await?;
    let result = tokio::time::timeout(PATIENCE, arrives(&own, key)).await;
    own.close(Duration::from_secs(1)).await;
    result.unwrap_or_else(|_| {
        let seconds = PATIENCE.as_secs();
        Err(Failure::new(
            Code::Network,
            format!("not within {seconds} s; `claudemesh outbox list --all` shows how far it came"),
        ))
    })
}

async fn arrives(own: &Peer, key: claudemesh_core::PublicKey) -> Result<Duration, Failure> {
    own.connected_within(PATIENCE).await?;
    let start = Instant::now();
    let message = Outgoing::text("claudemesh doctor").expects_reply(false);
    let receipt = own.send_message(key, message).await?;
    loop {
        let unread = own.unread(100).await?;
        if unread.iter().any(|message| message.id == *receipt.id()) {
            own.take(&unread).await?;
            return Ok(start.elapsed());
        }
        tokio::time::sleep(LOOK).await;
    }
}
