//! `claudemesh summary`: what one does, in a few words that members see.
//!
//! As a status it belongs to a session that listens, so the wish is kept in the configuration.

use std::collections::BTreeMap;

use claudemesh_core::config::{Config, MeshEntry};
use claudemesh_core::peer::{Peer, PeerError};
use claudemesh_core::session::SessionError;
use serde_json::json;

use crate::cli::SummaryCommand;
use crate::context::Context;
use crate::exit::{Code, Failure};
use crate::format::clean_line;

/// Where the wishes stand in the configuration: mesh id → summary.
const WISHES: &str = "claudemeshSummary";
type Wishes = BTreeMap<String, String>;

fn wished(config: &Config, mesh: &MeshEntry) -> Option<String> {
    let wishes: Wishes = config.data().extra.get(WISHES).unwrap_or_default();
    wishes.get(mesh.mesh_id.as_str()).cloned()
}

pub(super) fn run(context: &mut Context, command: SummaryCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let summary = match command {
        SummaryCommand::Show => wished(&context.config, &mesh),
        SummaryCommand::Clear => wish(context, &mesh, None)?,
        SummaryCommand::Set { text } => wish(context, &mesh, Some(text))?,
    };
    let answer = json!({ "mesh": mesh.slug, "summary": summary });
    context.out.answer(&answer, || match &summary {
        Some(text) => format!("{}\n", clean_line(text)),
        None => "Nothing is said.\n".to_owned(),
    })?;
    Ok(Code::Ok)
}

fn wish(
    context: &mut Context,
    mesh: &MeshEntry,
    summary: Option<String>,
) -> Result<Option<String>, Failure> {
    let id = mesh.mesh_id.as_str().to_owned();
    context.config.update(|data| {
        let mut wishes: Wishes = data.extra.get(WISHES).unwrap_or_default();
        match &summary {
            Some(text) => wishes.insert(id, text.clone()),
            None => wishes.remove(&id),
        };
        data.extra.set(WISHES, &wishes);
    })?;
    context
        .out
        .note("`claudemesh listen` follows it, also one that runs already.");
    Ok(summary)
}

/// What a session that listens says.
pub(super) struct Said {
    /// Given with this run; then nothing else counts.
    given: Option<String>,
    said: Option<String>,
}

impl Said {
    pub(super) const fn new(given: Option<String>) -> Self {
        Self { given, said: None }
    }

    /// Says what is wished for now, if that is new.
    pub(super) async fn look(&mut self, context: &Context, peer: &Peer) {
        let wish = (self.given.clone()).or_else(|| wished(&context.config, peer.mesh()));
        if wish == self.said {
            return;
        }
        let text = wish.clone().unwrap_or_default();
        match peer.set_summary(text.as_str()).await {
            Ok(()) => context.out.note(&match &wish {
                Some(text) => format!("Summary: {}", clean_line(text)),
                None => "No summary any more.".to_owned(),
            }),
            Err(error @ PeerError::Session(SessionError::ValuesUnserved)) => {
                context.out.warn(&format!("no summary is shown: {error}"));
            }
            // The next look tries again.
            Err(_) => return,
        }
        self.said = wish;
    }
}
