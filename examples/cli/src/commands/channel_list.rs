//! Lists of topics and groups.

use claudemesh_core::id::{ChannelName, PublicKey};
use claudemesh_core::peer::Peer;
use claudemesh_core::session::ChannelView;
use claudemesh_core::time::iso;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::channel::is_in;
use crate::context::{Context, name_of};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, table};

/// Channels that are asked about at the same time.
const AT_ONCE: usize = 16;

/// Lists the channels that begin with this mark.
pub(super) async fn list(context: &Context, peer: &Peer, mark: char) -> Result<Code, Failure> {
    let fresh = peer.sync().await;
    if let Err(error) = &fresh {
        context
            .out
            .warn(&format!("this is what is known here: {error}"));
    }
    let mut channels = peer.channels();
    channels.retain(|channel| channel.name.as_str().starts_with(mark));
    let names: Vec<ChannelName> = channels.iter().map(|c| c.name.clone()).collect();
    // Who is in is asked one by one; without a broker each question would wait for one.
    let views = match &fresh {
        Ok(()) => views(peer, &names).await,
        Err(_) => vec![None; names.len()],
    };
    let known = peer.members_and_former();
    let rows = channels.iter().zip(views).map(|(channel, view)| {
        let leads: Vec<PublicKey> = match &view {
            Some(view) => {
                let leads = view.members.iter().filter(|(_, lead)| *lead);
                leads.map(|(key, _)| *key).collect()
            }
            None => vec![channel.lead],
        };
        let leads: Vec<String> = (leads.iter())
            .map(|key| name_of(&known, key).unwrap_or_else(|| key.short()))
            .collect();
        let joined = view.as_ref().map(|view| is_in(peer, view));
        // A private channel that is not shown to this peer is one that it is not in.
        let joined = joined.or_else(|| (fresh.is_ok() && !channel.public).then_some(false));
        let members = view.map(|view| view.members.len());
        (channel, leads, members, joined)
    });
    let rows: Vec<_> = rows.collect();
    let answer: Vec<Value> = (rows.iter())
        .map(|(channel, leads, members, joined)| {
            json!({
                "name": channel.name,
                "public": channel.public,
                "leads": leads,
                "members": members,
                "joined": joined,
                "created_at": iso(channel.since),
            })
        })
        .collect();
    context.out.answer(&answer, || {
        if rows.is_empty() {
            return match mark {
                '#' => "No topics yet: `claudemesh topic create NAME` makes one.\n".to_owned(),
                _ => "No groups yet: `claudemesh group join NAME` makes one.\n".to_owned(),
            };
        }
        let cells = rows.iter().map(|(channel, leads, members, joined)| {
            vec![
                channel.name.to_string(),
                if channel.public { "public" } else { "private" }.to_owned(),
                clean_line(&leads.join(", ")),
                members.map_or_else(|| "?".to_owned(), |members| members.to_string()),
                match joined {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "?",
                }
                .to_owned(),
            ]
        });
        table(&["NAME", "", "LEAD", "MEMBERS", "IN IT"], cells.collect())
    })?;
    Ok(fresh.map_or(Code::Network, |()| Code::Ok))
}

/// The channels as they are now, in the order asked; none where they are not shown.
async fn views(peer: &Peer, names: &[ChannelName]) -> Vec<Option<ChannelView>> {
    let mut all = Vec::with_capacity(names.len());
    for some in names.chunks(AT_ONCE) {
        let mut asked = JoinSet::new();
        for (place, name) in some.iter().enumerate() {
            let (peer, name) = (peer.clone(), name.clone());
            asked.spawn(async move { (place, peer.channel(&name).await.ok()) });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        all.extend(answers.into_iter().map(|(_, view)| view));
    }
    all
}
