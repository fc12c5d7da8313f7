//! `claudemesh upgrade`: a mesh with a membership log for those of one without. Who is invited is
//! decided by whose keys are trusted here, never by the broker's word.

use std::time::Duration;

use claudemesh_core::broker_url::BrokerUrl;
use claudemesh_core::config::MeshEntry;
use claudemesh_core::peer::{InviteOptions, Outgoing, Peer, Recipient};
use claudemesh_core::store::SendState;
use claudemesh_core::{KeyTrust, KnownKey, MeshId};
use serde_json::{Value, json};

use super::known;
use crate::cli::Upgrade;
use crate::context::{Context, ask, finish, is_interactive};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

/// How long a broker is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// For how long a link is good.
const GOOD: Duration = Duration::from_secs(30 * 86_400);

pub(super) async fn run(context: &mut Context, args: Upgrade) -> Result<Code, Failure> {
    let old = context.config.mesh(&args.of).cloned().ok_or_else(|| {
        let message = format!(
            "no mesh is called {:?} here; see `claudemesh list`",
            args.of
        );
        Failure::new(Code::NoMesh, message)
    })?;
    let peer = context.open(&old, false).await?;
    let result = upgrade(context, &args, &old, &peer).await;
    finish(&peer).await;
    result
}

async fn upgrade(
    context: &mut Context,
    args: &Upgrade,
    old: &MeshEntry,
    peer: &Peer,
) -> Result<Code, Failure> {
    if peer.log().is_some() {
        let message = format!(
            "{} has a membership log already; there is nothing to upgrade",
            clean_line(&old.slug)
        );
        return Err(Failure::new(Code::Exists, message));
    }
    peer.connected_within(WAIT).await?;
    let mut trusted = known::keys(peer).await?;
    let others = trusted.len();
    trusted.retain(|known| known.trust == KeyTrust::Trusted && known.key != peer.key());
    if trusted.is_empty() {
        return Err(Failure::new(
            Code::Permission,
            "nobody is trusted in this mesh, so nobody could be invited: compare safety numbers \
             (`claudemesh verify`), then `claudemesh trust PEER`",
        ));
    }
    let broker: BrokerUrl = match &args.broker {
        Some(broker) => broker.clone(),
        None => old.broker_url.parse()?,
    };
    let slug = match &args.to {
        Some(slug) => slug.clone(),
        None => format!("{}-2", old.slug),
    };
    if context.config.mesh(&slug).is_some() {
        let message = format!("a mesh called {slug:?} is here already; choose another with --to");
        return Err(Failure::new(Code::Exists, message));
    }
    if !args.yes {
        let names: Vec<_> = trusted.iter().map(known::names).collect();
        let what = format!(
            "A new mesh {slug} at {broker}, with yourself as its owner, and a link for each of: {}",
            names.join("; ")
        );
        if !is_interactive(&context.out) {
            return Err(Failure::usage(format!("{what}. Say --yes to do it")));
        }
        if !ask(&format!("{what}. Make it?")).await? {
            return Err(Failure::new(Code::Failed, "nothing was made"));
        }
    }
    let name = context.display_name(args.name.as_deref().or(old.display_name.as_deref()));
    let made = context
        .config
        .create_with(&slug, &broker, &name, args.token.as_ref())
        .await?;
    let new = context.open(&made.mesh, false).await?;
    let mut invited = Vec::new();
    let failed = invite(&new, peer, &trusted, old, &mut invited).await;
    finish(&new).await;
    let recovery = made.recovery_key.expose();
    // The mesh is there, and its recovery key is shown only now, whatever became of the links.
    let code = told(
        context,
        old,
        (&made.mesh.slug, &made.mesh.mesh_id),
        &recovery,
        &invited,
        others - trusted.len(),
    )?;
    match failed {
        Ok(()) => Ok(code),
        Err(Failure::Error(code, why)) => {
            let left = trusted.len() - invited.len();
            let slug = clean_line(&made.mesh.slug);
            let message = format!(
                "{why}. The mesh {slug} is made, but {left} links are not: `claudemesh invite \
                 --mesh {slug}`"
            );
            Err(Failure::new(code, message))
        }
        Err(closed) => Err(closed),
    }
}

/// What became of one link.
struct Invited {
    names: String,
    key: claudemesh_core::PublicKey,
    state: Option<SendState>,
    /// Why it was not sent; then the link has to be handed over in another way.
    failed: Option<(String, String)>,
}

async fn invite(
    new: &Peer,
    old: &Peer,
    trusted: &[KnownKey],
    mesh: &MeshEntry,
    invited: &mut Vec<Invited>,
) -> Result<(), Failure> {
    new.connected_within(WAIT).await?;
    for known in trusted {
        let options = InviteOptions {
            expires_in: GOOD,
            ..InviteOptions::default()
        };
        let link = new.invite(options).await?.issued.link();
        let text = format!(
            "{} goes on as a mesh with a membership log. Join it by this link, which is for you \
             alone and good for 30 days: {link}",
            mesh.slug
        );
        // Sealed for a key that was compared; text, if its client knows no envelopes.
        let message = Outgoing::text(text).to_unverified(true);
        let sent = old.send_message(Recipient::Key(known.key), message).await;
        let one = match sent {
            Ok(receipt) => {
                let accepted = tokio::time::timeout(WAIT, receipt.accepted()).await;
                let failed = match accepted {
                    Ok(Err(error)) => Some((error.to_string(), link)),
                    _ => None,
                };
                (Some(receipt.state()), failed)
            }
            Err(error) => (None, Some((error.to_string(), link))),
        };
        invited.push(Invited {
            names: known::names(known),
            key: known.key,
            state: one.0,
            failed: one.1,
        });
    }
    Ok(())
}

fn told(
    context: &Context,
    old: &MeshEntry,
    (slug, mesh): (&str, &MeshId),
    recovery: &str,
    invited: &[Invited],
    not_trusted: usize,
) -> Result<Code, Failure> {
    let list: Vec<Value> = (invited.iter())
        .map(|one| {
            json!({
                "name": one.names,
                "pubkey": one.key,
                "state": one.state.map(SendState::as_str),
                "error": one.failed.as_ref().map(|(why, _)| why),
                "link": one.failed.as_ref().map(|(_, link)| link),
            })
        })
        .collect();
    let answer = json!({
        "mesh": slug,
        "mesh_id": mesh,
        "from": old.slug,
        "recovery_key": recovery,
        "invited": list,
        "not_trusted": not_trusted,
    });
    context.out.answer(&answer, || {
        let lines: String = (invited.iter())
            .map(|one| match (&one.failed, one.state) {
                (Some((why, link)), _) => format!(
                    "  {}: not sent ({}); hand it over yourself: {link}\n",
                    one.names,
                    clean_line(why)
                ),
                (None, Some(SendState::Queued)) => {
                    format!("  {}: waits until both of you are there\n", one.names)
                }
                (None, _) => format!("  {}: sent, sealed\n", one.names),
            })
            .collect();
        let left = match not_trusted {
            0 => String::new(),
            many => format!(
                "{many} others are not trusted here, and were not invited: `claudemesh trust`, \
                 then `claudemesh invite --mesh {slug}`.\n"
            ),
        };
        format!(
            "Made the mesh {slug}; you are its owner.\n\nRecovery key:\n  {recovery}\nIt is shown \
             only now and kept nowhere: write it down, and keep it away from this machine.\n\n\
             Links:\n{lines}{left}{} stays as it is, and what was said there can be read: \
             `claudemesh inbox --all --mesh {}`.\n",
            clean_line(&old.slug),
            clean_line(&old.slug)
        )
    })?;
    Ok(Code::Ok)
}
