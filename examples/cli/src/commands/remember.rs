//! `claudemesh remember`: something for all members to find.

use serde_json::json;

use super::kept;
use crate::cli::Remember;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::input;

pub(super) async fn run(context: &Context, args: Remember) -> Result<Code, Failure> {
    let text = input::text(&args.text)?;
    if text.trim().is_empty() {
        return Err(Failure::usage(
            "there is nothing to remember: the text is empty",
        ));
    }
    let tags = args.tags().map_err(Failure::usage)?;
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let remembered = kept::in_time(peer.remember(text, tags.clone())).await;
    finish(&peer).await;
    let id = remembered?;
    let answer = json!({ "memory_id": id, "tags": tags });
    context
        .out
        .answer(&answer, || format!("Remembered: {id}\n"))?;
    Ok(Code::Ok)
}
