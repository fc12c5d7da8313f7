//! Invites of version 1, and what a person may paste to join.

use claudemesh_core::encoding::{base64url, hex};
use claudemesh_core::invite::{InviteToken, Link, parse_link};
use serde_json::Value;

use crate::harness::{Outcome, REJECTED, Section, Vectors, Verdict, cases, same, text};

/// Tokens and the links that carry them.
pub(crate) fn invite_v1(vectors: &Vectors, section: &Value, run: &mut Section<'_>) {
    let clock = section.get("check_clock_unix_s").and_then(Value::as_u64);
    if let Some(main) = section.get("main") {
        run.case(main, || one_invite(vectors, main, clock));
    }
    for case in cases(section) {
        let own = ["now_unix_s", "check_clock_unix_s"]
            .iter()
            .find_map(|field| case.get(field)?.as_u64());
        run.case(case, || one_invite(vectors, case, own.or(clock)));
    }
}

fn one_invite(vectors: &Vectors, case: &Value, clock: Option<u64>) -> Outcome {
    let json = text(case, "payload_json_utf8");
    let token = match (text(case, "token_b64url"), text(case, "link"), json) {
        (Some(token), ..) => token.to_owned(),
        (None, Some(link), _) => match parse_link(link) {
            Ok(Link::Token(parts)) => parts.text,
            Ok(_) => return Err("the link is not one of version 1".to_owned()),
            Err(_) => return Ok(REJECTED),
        },
        (None, None, Some(json)) => base64url(json.as_bytes()),
        (None, None, None) => return Err("undecided: neither token nor link".to_owned()),
    };
    let Ok(invite) = InviteToken::parse(&token) else {
        return Ok(REJECTED);
    };
    let clock = clock.ok_or("undecided: no clock")?;
    if invite.verify(clock).is_err() {
        return Ok(REJECTED);
    }

    let canonical = invite.canonical();
    same("canonical", &*canonical, text(case, "canonical_utf8"))?;
    same(
        "canonical_hex",
        &*hex(canonical.as_bytes()),
        text(case, "canonical_hex"),
    )?;
    if let Some(json) = json {
        same("token", &*base64url(json.as_bytes()), Some(&*token))?;
    }
    let payload = match (case.get("payload"), json) {
        (Some(payload), _) => Some(payload.clone()),
        (None, Some(json)) => serde_json::from_str(json).ok(),
        (None, None) => None,
    };
    if let Some(payload) = payload {
        same(
            "canonical of the payload",
            Some(&canonical),
            Some(rebuilt(&payload).as_ref()),
        )?;
        let signature = text(&payload, "signature");
        same(
            "signature",
            signature,
            text(case, "signature_hex").map(Some),
        )?;
        let owner = text(&payload, "owner_pubkey").map(str::to_lowercase);
        if let Some(pair) = owner.and_then(|owner| vectors.pair_of(&owner)) {
            let ours = pair.sign(canonical.as_bytes()).to_hex();
            // A moved field boundary keeps canonical text and signature, so this holds there too.
            same("signature", Some(&*ours), Some(signature))?;
        }
    }
    for link in case
        .get("links")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let link = link.as_str().ok_or("undecided: a link is not text")?;
        match parse_link(link) {
            Ok(Link::Token(parts)) if parts.text == token => {}
            _ => return Err(format!("not read as the token it carries: {link}")),
        }
    }
    Ok(Verdict::Accepted)
}

fn rebuilt(payload: &Value) -> Option<String> {
    let fields = [
        "v",
        "mesh_id",
        "mesh_slug",
        "broker_url",
        "expires_at",
        "mesh_root_key",
        "role",
        "owner_pubkey",
    ];
    let parts: Option<Vec<String>> = fields
        .iter()
        .map(|field| match payload.get(field)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        })
        .collect();
    Some(parts?.join("|"))
}

/// Which kind of invite an input is.
pub(crate) fn invite_input_classification(_: &Vectors, section: &Value, run: &mut Section<'_>) {
    for case in cases(section) {
        let id = case.get("input").unwrap_or(&Value::Null).to_string();
        run.decide(&id, || {
            let input = text(case, "input").ok_or("undecided: no input")?;
            let parsed = parse_link(input);
            match text(case, "result") {
                Some("v1") => match parsed {
                    Ok(Link::Token(parts)) => same("token", &*parts.text, text(case, "token")),
                    _ => Err("not read as version 1".to_owned()),
                },
                Some("v2") => match parsed {
                    Ok(Link::Code(parts)) => same("code", &*parts.text, text(case, "code")),
                    _ => Err("not read as version 2".to_owned()),
                },
                Some("normalised") => {
                    let to = text(case, "to").ok_or("undecided: normalised to what")?;
                    match (parsed, parse_link(to)) {
                        (Ok(ours), Ok(theirs)) if ours == theirs => Ok(()),
                        _ => Err(format!("not read as {to}")),
                    }
                }
                Some("error") if parsed.is_err() => Ok(()),
                Some("error") => Err("accepted".to_owned()),
                other => Err(format!("undecided: result is {other:?}")),
            }
        });
    }
}
