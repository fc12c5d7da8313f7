//! `claudemesh send`: one message to one peer, or to a channel.

use std::time::Duration;

use claudemesh_core::Protection;
use claudemesh_core::id::{Priority, PublicKey, Status, Target, Wake};
use claudemesh_core::peer::{
    Accepted, Connection, Outgoing, Peer, PeerError, Reach, Receipt, ReceiptError, SendError,
    Skipped,
};
use claudemesh_core::session::{NotReached, SessionError};
use claudemesh_core::store::SendState;
use serde_json::{Value, json};

use super::channel;
use crate::agent::replies::next_hop;
use crate::cli::{Send, WaitFor};
use crate::context::{Context, finish, name_of, resolve};
use crate::exit::{Code, Failure, refused_code};
use crate::format::clean_line;
use crate::input;

/// How long the state that was asked for is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// How long it is asked what becomes of a message that was accepted.
const LOOK: Duration = Duration::from_secs(1);
/// How long a broker that cannot be reached is tried.
const AWAY: Duration = Duration::from_secs(2);

pub(super) async fn run(context: &Context, args: Send) -> Result<Code, Failure> {
    let text = input::text(&args.text)?;
    if text.is_empty() {
        return Err(Failure::usage(
            "there is nothing to send: the text is empty",
        ));
    }
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = send(context, &peer, &args, text).await;
    finish(&peer).await;
    result
}

async fn send(context: &Context, peer: &Peer, args: &Send, text: String) -> Result<Code, Failure> {
    let to = target(peer, &args.to).await?;
    if peer.log().is_none() && !peer.is_connected() {
        // What can be sealed, and for whom, the broker's hello shows; a draft waits for it, too.
        drop(peer.connected_within(AWAY).await);
    }
    let protection = match (args.plaintext, &to) {
        (false, _) => Protection::Sealed,
        (true, Target::Channel(_)) => {
            // Only the broker's own hello shows that it encrypts no channels.
            peer.connected_within(AWAY).await?;
            Protection::LegacyPlaintext
        }
        (true, Target::Peer(_)) => {
            return Err(Failure::usage(
                "--plaintext is for channels ('#topic', @group, '*'): what goes to one peer is \
                 always sealed for it; --unverified is for one that only the broker vouches for",
            ));
        }
    };
    let mut message = Outgoing::text(text)
        .priority(args.priority)
        .to_unverified(args.unverified)
        .protection(protection)
        .hops(next_hop())
        .expires_in(args.expires);
    if let Some(id) = &args.reply_to {
        message = message.reply_to(id.clone());
    }
    if args.online {
        return send_online(context, peer, &to, args, message).await;
    }
    let receipt = match (peer.send_message(to.clone(), message).await, &to) {
        (Err(SendError::Peer(error)), Target::Channel(channel)) => {
            return Err(channel::refused(peer, channel, error));
        }
        (sent, _) => sent?,
    };
    let reached = wait(peer, &receipt, args.wait).await;
    let state = receipt.state();
    if let (SendState::Failed, Target::Channel(channel)) = (state, &to)
        && let Some(refused) = channel::not_in_now(peer, channel).await
    {
        return Err(refused);
    }
    let accepted = accepted(&receipt, state).await;
    let reach = match (&to, state) {
        (Target::Peer(_), SendState::Accepted | SendState::Delivered) => {
            let asked = tokio::time::timeout(LOOK, peer.reach(&to)).await;
            asked.ok().and_then(Result::ok).flatten()
        }
        _ => None,
    };
    let sent = Sent {
        shown: shown(peer, &to).await,
        priority: args.priority,
        reach,
        recipients: accepted.as_ref().and_then(|accepted| accepted.recipients),
        skipped: accepted.and_then(|accepted| accepted.skipped),
        receipt,
        state,
        reached,
    };
    sent.tell(context, peer, &to, &args.to)
}

/// Hands a message to whoever is connected now.
async fn send_online(
    context: &Context,
    peer: &Peer,
    to: &Target,
    args: &Send,
    message: Outgoing,
) -> Result<Code, Failure> {
    let reached = match (peer.send_online(to.clone(), message).await, to) {
        (Err(SendError::Peer(error)), Target::Channel(channel)) => {
            return Err(channel::refused(peer, channel, error));
        }
        (Err(SendError::Peer(PeerError::Session(SessionError::NotReached(why)))), _) => {
            return Err(Failure::new(Code::Failed, not_reached(why)));
        }
        (sent, _) => sent?.connections,
    };
    let called = shown(peer, to).await;
    let (name, to) = told(to, called.as_deref(), &args.to);
    let answer = json!({ "online": true, "reached": reached, "to": to });
    context.out.answer(&answer, || match reached {
        1 => format!("Handed to {name} (1 connection)\n"),
        many => format!("Handed to {name} ({many} connections)\n"),
    })?;
    Ok(Code::Ok)
}

/// Why nobody was reached, with the option that helps.
fn not_reached(why: NotReached) -> String {
    let advice = match why {
        NotReached::NotOnline => {
            "no recipient is connected. Without --online it is kept until they come"
        }
        NotReached::Gated => {
            "who is connected is busy. --priority now gets through; without --online it is kept \
             until they are free"
        }
        _ => return format!("{why}. Without --online it is kept"),
    };
    format!("{advice}; nothing was sent")
}

/// A target for people and for programs. `called` is how it is shown, if that is known.
fn told(to: &Target, called: Option<&str>, given: &str) -> (String, Value) {
    match to {
        Target::Peer(key) => {
            let to = json!({ "name": called, "pubkey": key });
            (clean_line(called.unwrap_or(given)), to)
        }
        Target::Channel(channel) => (channel.to_string(), json!({ "channel": channel })),
    }
}

/// To whom: a channel by its mark, else a member.
pub(super) async fn target(peer: &Peer, wanted: &str) -> Result<Target, Failure> {
    let mark = wanted.trim_start();
    if mark.starts_with('$') {
        return Err(Failure::usage(
            "nobody is called so: a topic is '#name', a group @name, everybody '*'",
        ));
    }
    if mark.starts_with(['#', '@', '*']) {
        return Ok(peer.target(wanted).await?);
    }
    // A device of a member goes before a session of its name.
    if mark.contains('/')
        && peer.resolve(wanted).await.is_err()
        && let Ok(session) = peer.resolve_session(wanted).await
    {
        return Ok(Target::Peer(session.key));
    }
    Ok(Target::Peer(recipient(peer, wanted).await?))
}

/// How a recipient is shown: a member's name, or a session as `member/session`.
async fn shown(peer: &Peer, to: &Target) -> Option<String> {
    let Target::Peer(key) = to else { return None };
    match name_of(&peer.members_and_former(), key) {
        Some(name) => Some(name),
        None => {
            let session = peer.resolve_session(&key.to_hex()).await.ok()?;
            Some(session.shown)
        }
    }
}

/// In how many mailboxes it is, and who cannot read it.
async fn accepted(receipt: &Receipt, state: SendState) -> Option<Accepted> {
    match state {
        // The answer is here, so this waits for nothing.
        SendState::Accepted | SendState::Delivered => receipt.accepted().await.ok(),
        SendState::Queued | SendState::Failed => None,
    }
}

/// How far a message came.
struct Sent {
    /// How its recipient is shown.
    shown: Option<String>,
    priority: Priority,
    /// What becomes of it now, as far as is known.
    reach: Option<Reach>,
    receipt: Receipt,
    state: SendState,
    reached: bool,
    recipients: Option<u32>,
    /// Who is in the channel and cannot read it.
    skipped: Option<Skipped>,
}

impl Sent {
    fn tell(
        &self,
        context: &Context,
        peer: &Peer,
        to: &Target,
        given: &str,
    ) -> Result<Code, Failure> {
        let (id, state, reason) = (self.receipt.id(), self.state, self.receipt.reason());
        let (name, to) = told(to, self.shown.as_deref(), given);
        let is_channel = to.get("channel").is_some();
        let mut answer = json!({
            "message_id": id,
            "state": state.as_str(),
            "to": to,
            "recipients": self.recipients,
            "protected": self.receipt.is_protected(),
            "reach": self.reach.as_ref().map(|reach| json!({
                "online": reach.online,
                "status": reach.status.map(Status::as_str),
                "wake": reach.wake.map(Wake::as_str),
                "told": reach.told(self.priority),
            })),
            "not_for": self.skipped.map(|s| json!({
                "untrusted": s.untrusted, "legacy": s.legacy,
            })),
        });
        if let (Some(reason), Some(fields)) = (&reason, answer.as_object_mut()) {
            fields.insert("reason".to_owned(), json!(reason));
        }
        let where_to = match self.recipients {
            Some(1) if is_channel => format!("{name} (1 mailbox)"),
            Some(many) if is_channel => format!("{name} ({many} mailboxes)"),
            _ => name.clone(),
        };
        context.out.answer(&answer, || match state {
            SendState::Queued => format!("Kept for {name}: {id}\n"),
            SendState::Accepted => format!("Sent to {where_to}: {id}\n"),
            SendState::Delivered => format!("Delivered to {where_to}: {id}\n"),
            SendState::Failed => format!("Not sent to {name}: {id}\n"),
        })?;
        if !self.receipt.is_protected() && is_channel {
            context
                .out
                .note("It went as plain text: whoever carries it, the broker first, can read it.");
        } else if !self.receipt.is_protected() {
            context.out.note(&format!(
                "It went as bare text: sealed for the key that the broker names as {name}'s, and \
                 not signed."
            ));
        }
        // Where nobody says how it is woken there is nothing to add.
        if let Some(reach) = self.reach.as_ref().filter(|reach| reach.wake.is_some())
            && state == SendState::Accepted
        {
            let told = clean_line(&reach.told(self.priority));
            context.out.note(&format!("The broker has it; {told}."));
        }
        if let Some(skipped) = self.skipped {
            context.out.warn(&format!(
                "it is not sealed for all in {name}: {} are not trusted (`claudemesh trust PEER`), \
                 {} use programs that read no encrypted channels",
                skipped.untrusted, skipped.legacy
            ));
        }
        Ok(self.advise(context, peer, &name, is_channel))
    }

    /// What is to be known beside the answer.
    fn advise(&self, context: &Context, peer: &Peer, name: &str, is_channel: bool) -> Code {
        let out = &context.out;
        match (self.state, self.reached) {
            (SendState::Failed, _) => {
                let reason = self.receipt.reason();
                let reason = reason.unwrap_or_else(|| "refused".to_owned());
                out.warn(&format!("{name} will not get it: {reason}"));
                let code = reason.split(':').next().unwrap_or_default();
                refused_code(code)
            }
            (SendState::Queued, _) if matches!(peer.connection(), Connection::Removed(_)) => {
                let why = clean_line(&peer.connection().to_string());
                out.warn(&format!("the message is kept here and goes nowhere: {why}"));
                Code::Auth
            }
            (SendState::Queued, _) => {
                out.warn(&format!(
                    "the message is kept here and goes out with the next command that reaches the \
                     broker, such as `claudemesh outbox flush`: {}",
                    peer.connection()
                ));
                Code::Network
            }
            (SendState::Accepted, false) => {
                let seconds = WAIT.as_secs();
                let what = match is_channel {
                    true => {
                        format!("some in {name} have not fetched it within {seconds} s: they get")
                    }
                    false => format!("{name} has not fetched it within {seconds} s and gets"),
                };
                out.note(&format!("The broker has it; {what} it later."));
                Code::Ok
            }
            (SendState::Accepted, true) if is_channel && self.recipients == Some(0) => {
                out.note(&format!("Nobody else is in {name}."));
                Code::Ok
            }
            _ => Code::Ok,
        }
    }
}

/// The key of who is meant: a member, or one whom only the broker names.
async fn recipient(peer: &Peer, wanted: &str) -> Result<PublicKey, Failure> {
    match resolve(peer, wanted).await {
        Err(unknown) if unknown.code() == Code::NotFound => {
            super::known::find(peer, wanted).await?.ok_or(unknown)
        }
        other => other,
    }
}

/// Waits for what was asked for; false if it was not reached in time.
async fn wait(peer: &Peer, receipt: &Receipt, far: WaitFor) -> bool {
    let reached = async {
        match far {
            WaitFor::Accepted => receipt.accepted().await.map(drop),
            WaitFor::Delivered => receipt.delivered().await,
        }
    };
    let away = async {
        // Once it was connected the answer is on its way; else there is nothing to wait for.
        if peer.connected_within(AWAY).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        result = reached => !matches!(result, Err(ReceiptError::Closed)),
        () = away => false,
        () = tokio::time::sleep(WAIT) => false,
    }
}
