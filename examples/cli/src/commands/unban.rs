//! `claudemesh unban`: lets in again who was banned.

use claudemesh_core::PublicKey;
use claudemesh_core::peer::Peer;
use serde_json::json;

use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &Context, text: &str) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = unbanned(&peer, text).await;
    finish(&peer).await;
    let (key, name) = result?;
    let answer = json!({ "name": name, "pubkey": key });
    context.out.answer(&answer, || {
        format!("The broker serves {} again.\n", clean_line(&name))
    })?;
    Ok(Code::Ok)
}

async fn unbanned(peer: &Peer, text: &str) -> Result<(PublicKey, String), Failure> {
    let bans = peer.bans().await?;
    let fits = |name: &str, key: &str| {
        name == text || key == text || (text.len() >= 4 && key.starts_with(text))
    };
    let found: Vec<_> = (bans.iter())
        .filter(|ban| fits(&ban.name, &ban.pubkey))
        .collect();
    let one = match found.as_slice() {
        [one] => one,
        [] => {
            let message = format!("nobody called {text:?} is out; `claudemesh bans` shows who is");
            return Err(Failure::new(Code::NotFound, message));
        }
        _ => {
            let message = format!("{} are called {text:?}; name the key", found.len());
            return Err(Failure::usage(message));
        }
    };
    let key = PublicKey::from_hex(&one.pubkey)?;
    Ok((key, peer.unban(key).await?))
}
