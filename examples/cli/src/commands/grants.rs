//! `claudemesh grants`: whose messages are not allowed.

use claudemesh_core::Who;
use serde_json::{Map, Value, json};

use super::may::{May, shown};
use crate::context::{Context, finish, name_of};
use crate::exit::{Code, Failure};
use crate::format::{clean_line, table};

pub(super) async fn run(context: &Context) -> Result<Code, Failure> {
    let mesh = context.mesh()?;
    let peer = context.open(&mesh, false).await?;
    let rules = peer.rules().await;
    let members = peer.members_and_former();
    finish(&peer).await;
    let rules = rules?;
    let mut grants = Map::new();
    let mut rows = Vec::new();
    for kept in &rules {
        let who = match kept.who {
            Who::Peer(key) => {
                grants.insert(key.to_hex(), json!(May::of(kept.rule).words()));
                name_of(&members, &key).unwrap_or_else(|| key.short())
            }
            Who::Verified => "every verified member".to_owned(),
            _ => "everybody unverified".to_owned(),
        };
        rows.push(vec![clean_line(&who), shown(kept.rule).to_owned()]);
    }
    let listed: Vec<Value> = (rules.iter())
        .map(|kept| {
            let who = match kept.who {
                Who::Peer(key) => key.to_hex(),
                Who::Verified => "verified".to_owned(),
                _ => "unverified".to_owned(),
            };
            json!({ "who": who, "rule": kept.rule.as_str() })
        })
        .collect();
    let answer = json!({ "mesh": mesh.slug, "grants": grants, "rules": listed });
    let none = rows.is_empty();
    context
        .out
        .answer(&answer, || table(&["WHO", "MAY"], rows))?;
    if none && !context.out.is_json() {
        context
            .out
            .note("No rules: everybody may send dm and broadcast.");
    }
    Ok(Code::Ok)
}
