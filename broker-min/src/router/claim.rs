//! Who may come in, and which presence a hello takes over.

use claudemesh_core::id::Signature;
use claudemesh_core::wire::{ClientFrame, CloseCode, SignedBlob, errors, errors::code};
use serde_json::Value;

use super::mesh::Mesh;
use super::text;
use super::types::Verified;

/// Why a hello is refused.
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) close: CloseCode,
}

pub(super) fn refusal(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal {
        code,
        message: message.into(),
        close: CloseCode::POLICY,
    }
}

/// What a hello does to the presences that are there.
#[derive(Default)]
pub(super) struct Taking {
    /// This one goes on with the new connection, in silence.
    pub(super) goes_on: Option<u64>,
    /// This one ends, because the same session comes back with another key.
    pub(super) ends: Option<u64>,
    /// Another member only named the session key that is proven now.
    pub(super) squatted: bool,
}

/// The code for a session key that is another's.
pub(super) const SESSION_KEY_TAKEN: &str = code::SESSION_KEY_TAKEN;

/// What a hello tells, in either form.
pub(super) struct Told<'a> {
    pub(super) claimed_id: Option<&'a str>,
    pub(super) signature: &'a str,
    pub(super) display_name: Option<&'a str>,
    pub(super) session_id: &'a str,
    pub(super) cwd: Option<&'a str>,
    pub(super) hostname: Option<&'a str>,
    pub(super) peer_type: Option<&'a str>,
    pub(super) channel: Option<&'a str>,
    pub(super) model: Option<&'a str>,
    pub(super) pid: Option<i64>,
    pub(super) groups: Option<&'a Value>,
    pub(super) statement: Option<&'a SignedBlob>,
    pub(super) capabilities: &'a [String],
    pub(super) durable: bool,
    pub(super) receive: bool,
    pub(super) presence: bool,
}

macro_rules! told {
    ($hello:expr, $claimed:expr) => {
        Some(Told {
            claimed_id: $claimed,
            signature: &$hello.signature,
            display_name: $hello.display_name.as_deref(),
            session_id: $hello.session_id.as_deref().unwrap_or_default(),
            cwd: $hello.cwd.as_deref(),
            hostname: $hello.hostname.as_deref(),
            peer_type: $hello.peer_type.as_deref(),
            channel: $hello.channel.as_deref(),
            model: $hello.model.as_deref(),
            pid: $hello.pid,
            groups: $hello.groups.as_ref(),
            statement: $hello.statement.as_ref(),
            capabilities: $hello.capabilities.as_deref().unwrap_or_default(),
            durable: $hello.durable.unwrap_or(false),
            receive: $hello.receive.unwrap_or(true),
            presence: $hello.presence.unwrap_or(true),
        })
    };
}

pub(super) fn told(frame: &ClientFrame) -> Option<Told<'_>> {
    match frame {
        ClientFrame::Hello(hello) => told!(hello, None),
        ClientFrame::SessionHello(hello) => {
            let claimed = hello.parent_member_id.as_deref();
            told!(hello, claimed.filter(|id| !id.is_empty()))
        }
        _ => None,
    }
}

/// Checks a hello against the mesh, in the reference's order.
pub(super) fn check(
    mesh: &mut Mesh,
    verified: &Verified,
    told: &Told<'_>,
    now: u64,
    limit: usize,
) -> Result<Taking, Refusal> {
    let taking = taking(mesh, verified, told);
    let replaces = taking
        .as_ref()
        .is_ok_and(|t| t.goes_on.is_some() || t.ends.is_some());
    if mesh.load() >= limit && !replaces {
        return Err(refusal(code::CAPACITY, errors::capacity(limit)));
    }
    match mesh.members.get(&verified.member) {
        None => return Err(refusal(code::UNAUTHORIZED, errors::UNAUTHORIZED)),
        Some(row) if row.removed_at != 0 => {
            return Err(Refusal {
                close: CloseCode::BANNED,
                ..refusal(code::REVOKED, errors::revoked(&mesh.row.slug))
            });
        }
        Some(row) if told.claimed_id.is_some_and(|id| id != row.id.as_str()) => {
            return Err(refusal(
                code::PARENT_MEMBER_ID_MISMATCH,
                errors::PARENT_MEMBER_ID_MISMATCH,
            ));
        }
        Some(_) => {}
    }
    let taking = taking?;
    // Also that of a proven hello is noted: without its proof it would work once more, for whoever
    // saw it. A proven one is fresh by its challenge, whatever was seen.
    let signature = Signature::from_hex(told.signature).unwrap_or(Signature([0; 64]));
    let seen = mesh.see(now, verified.member, signature);
    if !verified.proven {
        match seen {
            Some(true) => {}
            Some(false) => {
                let message = "hello rejected: bad_signature (replayed: this hello was used)";
                return Err(refusal(code::BAD_SIGNATURE, message));
            }
            None => {
                return Err(refusal(
                    code::BUSY,
                    "too many hellos; try again in a minute",
                ));
            }
        }
    }
    Ok(taking)
}

/// What a hello may do to the presences that are there. Who proves nothing touches only what is
/// not proven, and nobody touches what is another member's.
fn taking(mesh: &Mesh, verified: &Verified, told: &Told<'_>) -> Result<Taking, Refusal> {
    let mut taking = Taking::default();
    let session = verified.session.filter(|key| *key != verified.member);
    let taken = |message: &str| Err(refusal(SESSION_KEY_TAKEN, message));
    if let Some(key) = session {
        if mesh.members.contains_key(&key) {
            return taken("this session key is another member's key");
        }
        let by = mesh.by_session.get(&key);
        let held = by.and_then(|by| mesh.presences.get(by).map(|presence| (*by, presence)));
        match mesh.session_key(&key) {
            Some(owner) if owner.member != verified.member => {
                if owner.proven || !verified.session_proven {
                    return taken("this session key is another member's");
                }
                taking.squatted = true;
            }
            _ => {
                if let Some((by, held)) = held {
                    if held.proven && !verified.proven {
                        return taken(
                            "this session is held by a connection that proved its key; \
                             connect with a proof",
                        );
                    }
                    taking.goes_on = Some(by);
                }
            }
        }
    }
    let visible = told.receive && told.presence;
    if !visible {
        taking.goes_on = None;
        return Ok(taking);
    }
    if taking.goes_on.is_none() && !told.session_id.is_empty() {
        let by = (verified.member, text::shown(told.session_id, 256));
        let held = mesh.by_session_id.get(&by);
        let held = held.and_then(|key| mesh.presences.get(key).map(|presence| (*key, presence)));
        if let Some((key, held)) = held {
            if held.session == session {
                if verified.proven || !held.proven {
                    taking.goes_on = Some(key);
                }
            } else if !held.proven {
                taking.ends = Some(key);
            }
        }
    }
    Ok(taking)
}
