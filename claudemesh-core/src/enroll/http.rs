//! Asking a broker over HTTP: the log, and what is posted.

use serde_json::Value;

use super::JoinError;
use crate::broker_url::BrokerUrl;
use crate::crypto::KeyPair;
use crate::id::{MemberId, MeshId};
use crate::identity::log_read_proof;
use crate::membership::SignedEntry;
use crate::transport::{self, Answer, Network};
use crate::wire::{HEADER_PROOF, SignedBlob};

/// Pages of a log that are fetched at most: 64 MiB.
const MAX_PAGES: usize = 1_400;

/// Fetches what is missing of the log behind `entries`.
pub(super) async fn fetch_log(
    network: &Network,
    mesh: &MeshId,
    broker: &BrokerUrl,
    key: &KeyPair,
    entries: &mut Vec<SignedEntry>,
) -> Result<(), JoinError> {
    for _ in 0..MAX_PAGES {
        let path = format!("/mesh/{mesh}/log?from={}", entries.len());
        let proof = log_read_proof(mesh, key, crate::peer::unix_ms());
        let headers = [(HEADER_PROOF, proof)];
        let answer = transport::call(broker, network, "GET", &path, &headers, None).await?;
        let json = refused_or(&answer)?;
        let page = json
            .get("entries")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let head = json.pointer("/head/seq").and_then(Value::as_u64);
        let bad = || JoinError::DoesNotFit("the broker's answer is no log");
        for entry in &page {
            let text = |name: &str| entry.get(name).and_then(Value::as_str);
            let (e, sig) = text("e").zip(text("sig")).ok_or_else(bad)?;
            let signed = SignedEntry::from_text(e, sig, text("cosig")).map_err(|_| bad())?;
            entries.push(signed);
        }
        let head = head.ok_or_else(bad)?;
        if entries.len() as u64 > head {
            return Ok(());
        }
        if page.is_empty() {
            return Err(bad());
        }
    }
    Err(JoinError::DoesNotFit("the log is too long"))
}

pub(crate) fn blob(entry: &SignedEntry) -> Value {
    let blob = SignedBlob::new(&entry.bytes, &entry.signature, entry.cosignature.as_ref());
    serde_json::to_value(blob).unwrap_or_default()
}

pub(crate) async fn post(
    network: &Network,
    broker: &BrokerUrl,
    path: &str,
    body: &Value,
) -> Result<Value, JoinError> {
    post_with(network, broker, path, &[], body).await
}

/// As [`post`], with headers.
pub(crate) async fn post_with(
    network: &Network,
    broker: &BrokerUrl,
    path: &str,
    headers: &[(&str, String)],
    body: &Value,
) -> Result<Value, JoinError> {
    let answer = transport::call(
        broker,
        network,
        "POST",
        path,
        headers,
        Some(body.to_string()),
    )
    .await?;
    refused_or(&answer)
}

pub(super) fn answer_json(answer: &Answer) -> Result<Value, JoinError> {
    serde_json::from_slice(&answer.body).map_err(|_| JoinError::Refused {
        status: answer.status,
        code: "not_a_broker".to_owned(),
        message: format!(
            "what answers there is no claudemesh broker (HTTP {}); check the address",
            answer.status
        ),
    })
}

pub(super) fn refused_or(answer: &Answer) -> Result<Value, JoinError> {
    let json = answer_json(answer)?;
    let clean = |name: &str| -> Option<String> {
        let text = json.get(name)?.as_str()?;
        Some(text.chars().filter(|c| !c.is_control()).take(256).collect())
    };
    if answer.status == 200 && json.get("ok") == Some(&Value::Bool(true)) {
        return Ok(json);
    }
    let code = clean("error").unwrap_or_else(|| "unknown".to_owned());
    let message = clean("message").unwrap_or_else(|| explain(&code).to_owned());
    Err(JoinError::Refused {
        status: answer.status,
        code,
        message,
    })
}

/// What a code of the existing broker means, which sends no words with it.
fn explain(code: &str) -> &'static str {
    match code {
        "invite_expired" => "this invite has expired; ask for a new link",
        "invite_exhausted" => "this invite is used up; ask for a new link",
        "invite_revoked" => "this invite was taken back; ask for a new link",
        "invite_not_found" => "the broker knows no such invite; paste the whole link",
        "admin access required" => "only admins of this mesh may do that",
        "mesh_not_found" => "the broker knows no such mesh; is it the right broker?",
        _ => "see the code",
    }
}

pub(super) fn member_id(answer: &Value, field: &str) -> Result<MemberId, JoinError> {
    let text = answer
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default();
    Ok(MemberId::new(text)?)
}
