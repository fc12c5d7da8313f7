//! What is said of a member by HTTP, as clients of the existing system do: its tag, its groups, how
//! it takes messages; who may change that of itself; and who may write to it.

use std::sync::Arc;

use claudemesh_core::id::{MeshId, Name, PublicKey};
use claudemesh_core::wire::{BrokerFrame, Push, SUBTYPE_SYSTEM, errors::code};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::items::{Change, Edited, Kind};
use crate::router::Router;
use crate::router::conn::HINT_BYTES;
use crate::router::http::refused;
use crate::router::mesh::Mesh;
use crate::router::text::{self, iso, shown};
use crate::router::types::{ConnId, HttpReply};
use crate::store::MemberRow;

/// What a member may be allowed to change of itself.
const EDITABLE: [&str; 4] = ["displayName", "roleTag", "groups", "messageMode"];
const MODES: [&str; 3] = ["push", "inbox", "off"];
/// Characters of a tag.
const TAG_CHARS: usize = 64;
/// Whom one member grants something, and words of one grant, at most.
const GRANTED: usize = 1_000;
const WORDS: usize = 16;
/// The key under which a mesh's policy is kept.
const POLICY: &str = "selfEditable";

/// What is kept of a member besides its name and role.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::router) struct Profile {
    role_tag: Option<String>,
    groups: Value,
    message_mode: String,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            role_tag: None,
            groups: json!([]),
            message_mode: "push".to_owned(),
        }
    }
}

/// A change, and what is told once it is kept.
pub(in crate::router) struct Edit {
    pub(in crate::router) change: Change,
    pub(in crate::router) reply: Value,
    /// Whose connections are told, and what.
    told: Option<(PublicKey, Value)>,
    /// Who is called otherwise, if somebody is.
    named: Option<(PublicKey, Name)>,
}

type No = HttpReply;

impl Mesh {
    fn profile(&self, member: &PublicKey) -> Profile {
        let kept = self.items.get(Kind::Profile, &member.to_hex());
        kept.unwrap_or_default()
    }

    /// As it is told to clients.
    pub(in crate::router) fn profile_json(&self, member: &PublicKey) -> Value {
        let profile = self.profile(member);
        json!({
            "roleTag": profile.role_tag,
            "groups": profile.groups,
            "messageMode": profile.message_mode,
        })
    }

    /// The groups of a member whose client names none.
    pub(in crate::router) fn default_groups(&self, member: &PublicKey) -> Value {
        self.profile(member).groups
    }

    /// What members may change of themselves.
    pub(in crate::router) fn self_editable(&self) -> Value {
        let kept: Option<Map<String, Value>> = self.items.get(Kind::Policy, POLICY);
        let kept = kept.unwrap_or_default();
        let may = |name: &str| kept.get(name).and_then(Value::as_bool).unwrap_or(true);
        EDITABLE
            .into_iter()
            .map(|name| (name.to_owned(), Value::Bool(may(name))))
            .collect::<Map<_, _>>()
            .into()
    }
}

fn bad(why: &str) -> No {
    refused(400, code::INVALID_ARGUMENT, why)
}

fn by_log(what: &str) -> No {
    let why = format!("{what} of a member stands in the mesh's log, which only its people sign");
    refused(409, "in_log", why)
}

/// `PATCH /mesh/<id>/member/<member>`.
pub(in crate::router) fn edit(
    mesh: &Mesh,
    asker: &MemberRow,
    member: &str,
    fields: &Map<String, Value>,
) -> Result<Edit, No> {
    let moderates = super::super::asked::moderates(asker);
    let target = mesh.members.values();
    let mut target = target.filter(|row| row.removed_at == 0 && row.id.as_str() == member);
    let Some(target) = target.next() else {
        return Err(refused(
            404,
            "member_not_found",
            "no member of this mesh has that id",
        ));
    };
    let own = target.key == asker.key;
    if !own && !moderates {
        let why = "a member changes itself; the owner and admins change others";
        return Err(refused(403, code::FORBIDDEN, why));
    }
    let editable = mesh.self_editable();
    let mut profile = mesh.profile(&target.key);
    let (mut changes, mut row) = (Map::new(), target.clone());
    for (name, value) in fields {
        let allowed = moderates || editable.get(name) == Some(&Value::Bool(true));
        if EDITABLE.contains(&name.as_str()) && !allowed {
            let why = "this mesh lets only its owner and admins change that";
            return Err(refused(403, code::FORBIDDEN, why));
        }
        let kept = match name.as_str() {
            "displayName" if target.logged => return Err(by_log("the name")),
            "displayName" => {
                let name = value.as_str().and_then(|name| Name::new(name.trim()).ok());
                let name = name.ok_or_else(|| bad("displayName: 1 to 64 bytes that are shown"))?;
                row.name = name;
                json!(row.name)
            }
            "roleTag" => {
                let tag = value.as_str().map(|tag| shown(tag.trim(), TAG_CHARS));
                profile.role_tag = tag.filter(|tag| !tag.is_empty());
                json!(profile.role_tag)
            }
            "groups" if value.is_array() => {
                profile.groups = text::groups(Some(value));
                profile.groups.clone()
            }
            "messageMode" => {
                let mode = value.as_str().filter(|mode| MODES.contains(mode));
                let mode = mode.ok_or_else(|| bad("messageMode is push, inbox or off"))?;
                profile.message_mode = mode.to_owned();
                json!(mode)
            }
            "permission" => return Err(by_log("the role")),
            _ => return Err(bad("send displayName, roleTag, groups, messageMode")),
        };
        changes.insert(name.clone(), kept);
    }
    if changes.is_empty() {
        return Err(bad(
            "nothing to change: send displayName, roleTag, groups, messageMode",
        ));
    }
    let mut told = super::super::asked::member_json(mesh, &row);
    told["roleTag"] = json!(profile.role_tag);
    told["groups"] = profile.groups.clone();
    told["messageMode"] = json!(profile.message_mode);
    let change = Change::put(Kind::Profile, target.key.to_hex(), &profile);
    Ok(Edit {
        change: change.noted("profile_updated", asker.key),
        reply: json!({ "ok": true, "member": told, "changes": changes }),
        named: (row.name != target.name).then_some((target.key, row.name)),
        told: Some((target.key, Value::Object(changes))),
    })
}

/// `PATCH /mesh/<id>/settings`.
pub(in crate::router) fn set_policy(
    mesh: &Mesh,
    asker: &MemberRow,
    fields: &Map<String, Value>,
) -> Result<Edit, No> {
    if !super::super::asked::moderates(asker) {
        let why = "admin access required: the owner and admins change settings";
        return Err(refused(403, code::FORBIDDEN, why));
    }
    let asked = fields.get(POLICY).and_then(Value::as_object);
    let mut policy = mesh.self_editable();
    let mut any = false;
    for name in EDITABLE {
        match asked.and_then(|asked| asked.get(name)) {
            None => {}
            Some(Value::Bool(may)) => {
                policy[name] = (*may).into();
                any = true;
            }
            Some(_) => return Err(bad("each of selfEditable is true or false")),
        }
    }
    if !any {
        return Err(refused(
            400,
            "no settings to update",
            "send selfEditable {displayName?, …}",
        ));
    }
    Ok(Edit {
        change: Change::put(Kind::Policy, POLICY, &policy).noted("settings_updated", asker.key),
        reply: json!({ "ok": true, POLICY: policy }),
        told: None,
        named: None,
    })
}

/// `POST /cli/mesh/<mesh>/grants`: whom the asker lets do what. An empty list blocks, null forgets.
pub(in crate::router) fn grant(
    mesh: &Mesh,
    asker: &MemberRow,
    fields: &Map<String, Value>,
) -> Result<Edit, No> {
    let asked = fields.get("grants").and_then(Value::as_object);
    let Some(asked) = asked else {
        return Err(refused(
            400,
            "grants required",
            "send grants {<key>: [\"dm\", …] or null}",
        ));
    };
    let kept: Option<Map<String, Value>> = mesh.items.get(Kind::Grants, &asker.key.to_hex());
    let mut kept = kept.unwrap_or_default();
    for (key, words) in asked {
        let key = PublicKey::from_hex(key).map_err(|_| bad("grants: a key is 64 hex digits"))?;
        let key = key.to_hex();
        let words = match words {
            Value::Null => {
                kept.remove(&key);
                continue;
            }
            Value::Array(words) if words.len() <= WORDS => words,
            _ => return Err(bad("grants: a list of at most 16 words, or null")),
        };
        let words: Option<Vec<String>> = words
            .iter()
            .map(|word| Some(shown(word.as_str()?, TAG_CHARS)))
            .collect();
        let words = words.ok_or_else(|| bad("grants: words like dm, broadcast, read"))?;
        kept.insert(key, json!(words));
    }
    if kept.len() > GRANTED {
        return Err(bad("grants: at most 1,000 keys; forget some with null"));
    }
    let change = Change::put(Kind::Grants, asker.key.to_hex(), &kept);
    Ok(Edit {
        change: change.noted("grants_updated", asker.key),
        reply: json!({ "ok": true, "grants": kept }),
        told: None,
        named: None,
    })
}

impl Router {
    /// Keeps a change, then answers, and tells whom it is about.
    pub(in crate::router) fn keep_edit(&mut self, request: u64, shared: &Arc<MeshId>, edit: Edit) {
        let told = edit.told.and_then(|(member, data)| {
            let conns = self.mesh(shared)?.conns_of.get(&member)?.clone();
            Some(self.event_for(shared, conns, "profile_updated", data))
        });
        let edited = Edited {
            request,
            named: edit.named,
            told: told.into_iter().collect(),
            reply: edit.reply,
        };
        self.change_asked(shared, edit.change, edited);
    }

    /// An event for those connections that take messages.
    fn event_for(
        &mut self,
        shared: &Arc<MeshId>,
        mut to: Vec<ConnId>,
        event: &str,
        data: Value,
    ) -> (Vec<ConnId>, BrokerFrame) {
        // Who is slow asks when it is ready.
        to.retain(|id| {
            let conn = self.conns.get(id);
            conn.is_some_and(|conn| conn.receive && conn.unwritten <= HINT_BYTES)
        });
        let push = Push {
            message_id: self.fresh_id(),
            mesh_id: shared.as_str().to_owned(),
            sender_pubkey: SUBTYPE_SYSTEM.to_owned(),
            priority: "low".to_owned(),
            created_at: iso(self.now.wall),
            subtype: Some(SUBTYPE_SYSTEM.to_owned()),
            event: Some(event.to_owned()),
            event_data: Some(data),
            ..Push::default()
        };
        (to, push.into())
    }
}
