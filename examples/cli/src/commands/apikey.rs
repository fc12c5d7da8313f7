//! `claudemesh apikey`: keys by which programs without a connection use the broker's HTTP.

use claudemesh_core::peer::{NewApiKey, Peer, PeerError};
use serde_json::{Value, json};

use crate::cli::ApiKeyCommand;
use crate::context::{Context, finish};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, now_ms, table};

pub(super) async fn run(context: &Context, command: ApiKeyCommand) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = match command {
        ApiKeyCommand::Create {
            label,
            can,
            topic,
            expires,
        } => {
            let expires = expires.map(|time| {
                let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                now_ms().saturating_add(ms)
            });
            let wanted = NewApiKey {
                label,
                capabilities: can,
                topics: (!topic.is_empty()).then_some(topic),
                expires_at: expires,
            };
            create(context, &peer, wanted).await
        }
        ApiKeyCommand::List => list(context, &peer).await,
        ApiKeyCommand::Revoke { id } => revoke(context, &peer, &id).await,
    };
    finish(&peer).await;
    result
}

async fn create(context: &Context, peer: &Peer, wanted: NewApiKey) -> Result<Code, Failure> {
    let made = peer.create_api_key(wanted).await?;
    let answer = json!({
        "id": made.id,
        "secret": made.secret,
        "label": made.label,
        "prefix": made.prefix,
        "capabilities": made.capabilities,
        "topics": made.topic_scopes,
        "created_at": made.created_at,
    });
    context.out.answer(&answer, || {
        format!(
            "{}\nThe key of {} is shown only now. To take it back: claudemesh apikey revoke {}\n",
            clean_line(&made.secret),
            clean_line(&made.label),
            clean_line(&made.id)
        )
    })?;
    Ok(Code::Ok)
}

async fn list(context: &Context, peer: &Peer) -> Result<Code, Failure> {
    let keys = peer.api_keys().await?;
    let answer: Vec<Value> = (keys.iter())
        .map(|key| {
            json!({
                "id": key.id,
                "label": key.label,
                "prefix": key.prefix,
                "capabilities": key.capabilities,
                "topics": key.topic_scopes,
                "created_at": key.created_at,
                "last_used_at": key.last_used_at,
                "revoked_at": key.revoked_at,
                "expires_at": key.expires_at,
            })
        })
        .collect();
    context.out.answer(&answer, || {
        let rows = keys.iter().map(|key| {
            let state = match (&key.revoked_at, &key.expires_at) {
                (Some(at), _) => format!("taken back {at}"),
                (None, Some(at)) => format!("until {at}"),
                (None, None) => String::new(),
            };
            vec![
                clean_line(&key.id),
                clean_line(&key.label),
                clean_line(&key.prefix),
                clean_line(&key.capabilities.join(", ")),
                clean_line(&state),
            ]
        });
        table(&["ID", "FOR", "BEGINS", "OPENS", ""], rows.collect())
    })?;
    if keys.is_empty() && !context.out.is_json() {
        context.out.note("There are no keys.");
    }
    Ok(Code::Ok)
}

async fn revoke(context: &Context, peer: &Peer, id: &str) -> Result<Code, Failure> {
    let status = peer
        .revoke_api_key(id)
        .await
        .map_err(|error: PeerError| Failure::from(error))?;
    match status.as_str() {
        "revoked" => {}
        "not_unique" => {
            return Err(Failure::usage(format!(
                "several keys begin with {id:?}; write more of the id"
            )));
        }
        _ => {
            let message = format!("there is no key {id:?}; `claudemesh apikey list` shows them");
            return Err(Failure::new(Code::NotFound, message));
        }
    }
    let answer = json!({ "status": status });
    context.out.answer(&answer, || {
        format!("The key {} opens nothing any more.\n", clean_line(id))
    })?;
    Ok(Code::Ok)
}
