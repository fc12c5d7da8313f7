//! `claudemesh kick`, `ban`, `unban`, `bans` and `apikey`: what the broker does for owners and admins.

use claudemesh_core::PublicKey;
use claudemesh_core::peer::{NewApiKey, Peer, PeerError};
use serde_json::{Value, json};

use crate::cli::ApiKeyCommand;
use crate::context::{Context, finish, name_of, resolve};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, now_ms, table};

/// Whom a text means, also one whom only the broker knows.
async fn whom(peer: &Peer, text: &str) -> Result<PublicKey, Failure> {
    match resolve(peer, text).await {
        Ok(key) => Ok(key),
        Err(unknown) => match PublicKey::from_hex(text) {
            Ok(key) => Ok(key),
            Err(_) => peer.resolve_unverified(text).await?.ok_or(unknown),
        },
    }
}

async fn shown(peer: &Peer, key: &PublicKey, text: &str) -> String {
    name_of(&peer.members_and_former(), key).unwrap_or_else(|| match PublicKey::from_hex(text) {
        Ok(_) => key.short(),
        Err(_) => text.to_owned(),
    })
}

pub(super) async fn kick(context: &Context, text: &str) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = async {
        let key = whom(&peer, text).await?;
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

pub(super) async fn ban(context: &Context, text: &str) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let result = async {
        let key = whom(&peer, text).await?;
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

pub(super) async fn unban(context: &Context, text: &str) -> Result<Code, Failure> {
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

pub(super) async fn bans(context: &Context) -> Result<Code, Failure> {
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

pub(super) async fn api_key(context: &Context, command: ApiKeyCommand) -> Result<Code, Failure> {
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
