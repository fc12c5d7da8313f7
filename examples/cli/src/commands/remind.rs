//! `claudemesh remind`: a message that goes out later, or again and again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claudemesh_core::id::Target;
use claudemesh_core::peer::{Outgoing, Peer, PeerError, SendError};
use claudemesh_core::session::{Scheduled, SessionError};
use claudemesh_core::time::iso;
use serde_json::json;

use super::{channel, kept, message, send};
use crate::cli::{Remind, When};
use crate::context::{Context, finish, target_json, target_name};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, until};
use crate::{input, when};

pub(super) async fn run(context: &Context, args: Remind) -> Result<Code, Failure> {
    let text = input::text(&args.text)?;
    if text.is_empty() {
        return Err(Failure::usage("there is nothing to say: the text is empty"));
    }
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = remind(context, &peer, &args, text).await;
    finish(&peer).await;
    result
}

async fn remind(
    context: &Context,
    peer: &Peer,
    args: &Remind,
    text: String,
) -> Result<Code, Failure> {
    let to = match &args.to {
        Some(to) => send::target(peer, to).await?,
        None => Target::Peer(peer.key()),
    };
    let what = Outgoing::text(text).attribute(message::REMINDER);
    let schedule = async {
        let kept = match &args.when.cron {
            Some(cron) => peer.schedule_cron(to.clone(), what, cron).await,
            None => peer.schedule(to.clone(), what, time(&args.when)).await,
        };
        kept.map_err(|error| refused(peer, &to, error))
    };
    let kept = kept::in_time(schedule).await?;
    tell(context, peer, &to, &kept)
}

/// When it goes out.
fn time(when: &When) -> SystemTime {
    match (when.in_, when.at) {
        (_, Some(ms)) => UNIX_EPOCH + Duration::from_millis(ms),
        (length, None) => SystemTime::now() + length.unwrap_or_default(),
    }
}

fn refused(peer: &Peer, to: &Target, error: SendError) -> Failure {
    match (error, to) {
        (SendError::Peer(PeerError::Session(SessionError::Refused { code, .. })), _)
            if code == "queue_full" =>
        {
            let message = "the broker keeps no more schedules of yours; `claudemesh schedule list` \
                           shows them, `claudemesh schedule cancel ID` makes room";
            Failure::new(Code::Failed, message)
        }
        (SendError::Peer(error), Target::Channel(name)) => channel::refused(peer, name, error),
        (error, _) => error.into(),
    }
}

fn tell(context: &Context, peer: &Peer, to: &Target, kept: &Scheduled) -> Result<Code, Failure> {
    let answer = json!({
        "schedule_id": kept.id,
        "to": target_json(peer, to),
        "due_at": iso(kept.due),
        "cron": kept.cron,
    });
    let whom = match to {
        Target::Peer(key) if *key == peer.key() => "you".to_owned(),
        to => clean_line(&target_name(peer, to)),
    };
    let (at, left) = (when::told(kept.due), until(kept.due));
    context.out.answer(&answer, || match &kept.cron {
        Some(cron) => format!(
            "Reminds {whom} at {cron}, first {left}, {at}: {}\n",
            kept.id
        ),
        None => format!("Reminds {whom} {left}, {at}: {}\n", kept.id),
    })?;
    if kept.cron.is_some() {
        context.out.note(
            "It is sent by a program of yours that is there when it is due: `claudemesh listen`, or \
             the next command after that.",
        );
    }
    Ok(Code::Ok)
}
