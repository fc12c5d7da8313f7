//! `claudemesh status-line`: one short line for a client's status line. Asks nobody: it is called
//! again and again.

use std::time::Duration;

use serde_json::json;

use super::read_ahead::ReadAhead;
use crate::agent::address::{self, Found};
use crate::agent::client::Told;
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::clean_line;

/// Unread messages that are counted.
const COUNT: u32 = 100;

pub(super) async fn run(context: &Context) -> Result<Code, Failure> {
    let told = Told::read(&super::hook::stdin());
    if context.config.meshes().is_empty() {
        return context
            .out
            .answer(&json!({ "mesh": null }), || "no mesh\n".to_owned())
            .map(|()| Code::Ok);
    }
    let mesh = context.mesh()?;
    let found = address::find(&mesh, context.named(), told.session.as_deref())?;
    let builder = context.bare_builder(&mesh).presence(false).receive(false);
    let builder = match &found {
        Some(found) => found.attach(builder),
        None => builder,
    };
    let peer = builder.connect().await?;
    let unread = match &found {
        Some(_) => peer.unread(COUNT).await?.len(),
        None => ReadAhead::of(&mesh)
            .unread(&peer, COUNT, |_| true)
            .await?
            .len(),
    };
    peer.close(Duration::ZERO).await;
    let session = found.as_ref().map(Found::name);
    let name = mesh.display_name.as_deref().unwrap_or_default();
    let answer = json!({
        "mesh": mesh.slug,
        "name": name,
        "session": session,
        "lives": found.as_ref().is_some_and(|found| found.lives),
        "unread": unread,
    });
    context.out.answer(&answer, || {
        let who = match session {
            Some(session) => format!("{}/{session}", clean_line(name)),
            None => clean_line(name),
        };
        let many = if unread == COUNT as usize { "+" } else { "" };
        let unread = match unread {
            0 => String::new(),
            some => format!(" · {some}{many} unread"),
        };
        format!("{who} · {}{unread}\n", clean_line(&mesh.slug))
    })?;
    Ok(Code::Ok)
}
