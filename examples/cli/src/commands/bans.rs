//! `claudemesh bans`: who is out, as the broker has it.

use serde_json::{Value, json};

use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, table};

pub(super) async fn run(context: &Context) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let bans = peer.bans().await;
    finish(&peer).await;
    let bans = bans?;
    let answer: Vec<Value> = (bans.iter())
        .map(|ban| json!({ "name": ban.name, "pubkey": ban.pubkey, "revoked_at": ban.revoked_at }))
        .collect();
    context.out.answer(&answer, || {
        let rows = bans.iter().map(|ban| {
            vec![
                clean_line(&ban.name),
                clean_line(ban.pubkey.get(..16).unwrap_or(&ban.pubkey)),
                clean_line(&ban.revoked_at),
            ]
        });
        table(&["NAME", "KEY", "SINCE"], rows.collect())
    })?;
    if bans.is_empty() && !context.out.is_json() {
        context.out.note("Nobody is out.");
    }
    Ok(Code::Ok)
}
