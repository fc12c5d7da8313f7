//! `claudemesh ban`: shuts out whom only the broker vouches for.

use serde_json::json;

use crate::context::{Context, finish, resolve_any};
use crate::exit::{Code, Failure};
use crate::format::clean_line;

pub(super) async fn run(context: &Context, text: &str) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = async {
        let key = resolve_any(&peer, text).await?;
        Ok::<_, Failure>((key, peer.ban(key).await?))
    };
    let result = result.await;
    finish(&peer).await;
    let (key, name) = result?;
    let answer = json!({ "name": name, "pubkey": key });
    context.out.answer(&answer, || {
        format!(
            "The broker serves {} no longer. `claudemesh unban {}` takes it back.\n",
            clean_line(&name),
            key.short()
        )
    })?;
    Ok(Code::Ok)
}
