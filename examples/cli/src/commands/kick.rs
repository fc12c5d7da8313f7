//! `claudemesh kick`: ends the connections of a member.

use claudemesh_core::PublicKey;
use claudemesh_core::peer::Peer;
use serde_json::json;

use crate::context::{Context, finish, name_of, resolve_any};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &Context, text: &str) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = async {
        let key = resolve_any(&peer, text).await?;
        let name = shown(&peer, &key, text).await;
        Ok::<_, Failure>((key, name, peer.kick(key).await?))
    };
    let result = result.await;
    finish(&peer).await;
    let (key, name, ended) = result?;
    let answer = json!({ "name": name, "pubkey": key, "ended": ended });
    context.out.answer(&answer, || match ended.len() {
        0 => format!("{} has no connection.\n", clean_line(&name)),
        many => format!("Ended {many} connections of {}.\n", clean_line(&name)),
    })?;
    Ok(Code::Ok)
}

async fn shown(peer: &Peer, key: &PublicKey, text: &str) -> String {
    name_of(&peer.members_and_former(), key).unwrap_or_else(|| match PublicKey::from_hex(text) {
        Ok(_) => key.short(),
        Err(_) => text.to_owned(),
    })
}
