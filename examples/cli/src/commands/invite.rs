//! `claudemesh invite`: makes, lists and closes links.

use claudemesh_core::broker_url::{BrokerUrl, Reach};
use claudemesh_core::id::InviteId;
use claudemesh_core::membership::{Invite as LogInvite, Role};
use claudemesh_core::peer::{InviteOptions, NewInvite, Peer};
use claudemesh_core::time::iso;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

use crate::cli::{Invite, InviteCommand, InviteRole};
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{human_time, now_ms, table};

pub(super) async fn run(context: &Context, args: Invite) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = match &args.command {
        None => make(context, &peer, &args).await,
        Some(InviteCommand::List) => list(context, &peer).await,
        Some(InviteCommand::Close { id }) => close(context, &peer, id).await,
    };
    finish(&peer).await;
    result
}

async fn make(context: &Context, peer: &Peer, args: &Invite) -> Result<Code, Failure> {
    let role = match args.role {
        InviteRole::Member => Role::Member,
        InviteRole::Admin => Role::Admin,
        InviteRole::Pending => Role::Pending,
    };
    let options = InviteOptions {
        role,
        uses: args.uses,
        expires_in: args.expires,
    };
    let invite = peer.invite(options).await?;
    let made = MadeLink {
        uses: args.uses,
        role: role.as_str(),
        qr: args.qr,
    };
    hand_over(context, peer, &invite, &made)?;
    let times = match args.uses {
        1 => "one".to_owned(),
        n => n.to_string(),
    };
    context.out.note(&format!(
        "Good for {times} to join as {role}, until {}. Whoever has it can join: hand it over with \
         care.\nTo take it back: claudemesh invite close {}",
        human_time(invite.expires_at),
        short(&invite.id)
    ));
    Ok(Code::Ok)
}

/// What a link that was just made is for.
pub(super) struct MadeLink {
    pub(super) uses: u64,
    pub(super) role: &'static str,
    pub(super) qr: bool,
}

/// Shows a link, with a warning if it is not good everywhere.
pub(super) fn hand_over(
    context: &Context,
    peer: &Peer,
    invite: &NewInvite,
    made: &MadeLink,
) -> Result<(), Failure> {
    let broker: BrokerUrl = peer.mesh().broker_url.parse()?;
    match broker.reach() {
        Reach::Machine => context.out.warn(&format!(
            "the broker's address, {broker}, is good on this machine only, and so is this link. \
             For other machines start the broker with --listen 0.0.0.0:7900 and a --public-url \
             that they can reach, and make a mesh by that address"
        )),
        Reach::Network => context.out.warn(&format!(
            "the broker's address, {broker}, is good on this network only, and so is this link. \
             For everywhere start the broker with a --public-url such as wss://broker.example/ws, \
             and make a mesh by that address"
        )),
        Reach::Anywhere => {}
    }
    let link = invite.issued.link();
    let code = if made.qr { Some(qr(&link)?) } else { None };
    let answer = json!({
        "link": link,
        "legacy_link": invite.issued.legacy_link(),
        "invite_id": invite.id,
        "expires_at": iso(invite.expires_at),
        "uses": made.uses,
        "role": made.role,
    });
    context.out.answer(&answer, || match code {
        Some(code) => format!("{link}\n\n{code}\n"),
        None => format!("{link}\n"),
    })?;
    Ok(())
}

fn qr(link: &str) -> Result<String, Failure> {
    let code = QrCode::new(link).map_err(|error| {
        let message = format!("no QR code can be made of this link: {error}");
        Failure::new(Code::Internal, message)
    })?;
    // Terminals are dark more often than not: light modules are the drawn ones.
    Ok(code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build())
}

async fn list(context: &Context, peer: &Peer) -> Result<Code, Failure> {
    let fresh = peer.sync().await;
    if let Err(error) = &fresh {
        context
            .out
            .warn(&format!("this is what is known here: {error}"));
    }
    let mut invites = peer.invites();
    invites.sort_by_key(|invite| (invite.expires_at, invite.id));
    let now = now_ms();
    let state = |invite: &LogInvite| match invite.check_open(now) {
        Ok(()) => "open".to_owned(),
        Err(_) if invite.closed => "closed".to_owned(),
        Err(_) if now > invite.expires_at => "expired".to_owned(),
        Err(_) => "used up".to_owned(),
    };
    let answer: Vec<_> = invites
        .iter()
        .map(|invite| {
            json!({
                "invite_id": invite.id,
                "state": state(invite),
                "role": invite.role,
                "uses": invite.max_uses,
                "used": invite.used_by.len(),
                "expires_at": iso(invite.expires_at),
                "issuer": invite.issuer,
            })
        })
        .collect();
    context.out.answer(&answer, || {
        if invites.is_empty() {
            return "No links yet: `claudemesh invite` makes one.\n".to_owned();
        }
        let rows = invites.iter().map(|invite| {
            vec![
                short(&invite.id),
                state(invite),
                invite.role.to_string(),
                format!("{} of {}", invite.used_by.len(), invite.max_uses),
                human_time(invite.expires_at),
            ]
        });
        table(&["ID", "STATE", "ROLE", "USED", "EXPIRES"], rows.collect())
    })?;
    Ok(if fresh.is_ok() {
        Code::Ok
    } else {
        Code::Network
    })
}

async fn close(context: &Context, peer: &Peer, wanted: &str) -> Result<Code, Failure> {
    peer.sync().await?;
    let id = find(&peer.invites(), wanted)?;
    peer.close_invite(id).await?;
    let answer = json!({ "invite_id": id, "state": "closed" });
    context.out.answer(&answer, || {
        format!(
            "Closed {}: nobody joins by this link any more.\n",
            short(&id)
        )
    })?;
    Ok(Code::Ok)
}

fn find(invites: &[LogInvite], wanted: &str) -> Result<InviteId, Failure> {
    let prefix = wanted.to_ascii_lowercase();
    let found: Vec<InviteId> = invites
        .iter()
        .map(|invite| invite.id)
        .filter(|id| id.to_hex().starts_with(&prefix))
        .collect();
    match found.as_slice() {
        [one] if !prefix.is_empty() => Ok(*one),
        [] => Err(Failure::new(
            Code::NotFound,
            format!(
                "no link of this mesh has the id {wanted:?}; `claudemesh invite list` shows them"
            ),
        )),
        many => Err(Failure::usage(format!(
            "{wanted:?} could be {}; write more of it",
            many.iter().map(short).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// Enough of an id for a person to name it.
fn short(id: &InviteId) -> String {
    id.to_hex().chars().take(12).collect()
}
