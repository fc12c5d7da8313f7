//! What becomes of the rows: operations on the store, and what is told of each mesh.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use claudemesh_core::crypto::sha256;
use claudemesh_core::id::{MemberId, MeshId, Name, PublicKey};
use claudemesh_core::membership::Role;
use serde_json::{Value, json};

use super::fields::{array, short, time};
use super::tables::{Row, Tables};
use crate::store::{ItemRow, MemberRow, MemoryRow, MeshRow, Op, SetState, StateRow, ValueOp};

/// Bytes of a value or a memory at most, as a running broker takes them.
const VALUE: usize = 49_152;
/// Bytes of a state key.
const KEY: usize = 256;

/// What is done with a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It comes over.
    Imported,
    /// It is here already, and stays as it is.
    Here,
    /// It was deleted there.
    Archived,
    /// It cannot be served; why.
    Unusable(&'static str),
}

/// What is told of a mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MeshReport {
    pub(crate) mesh: String,
    pub(crate) slug: String,
    pub(crate) what: What,
    pub(crate) members: usize,
    pub(crate) removed: usize,
    pub(crate) invites: usize,
    pub(crate) topics: usize,
    pub(crate) state: usize,
    pub(crate) memories: usize,
    /// What stays behind, and how much of it.
    pub(crate) left: BTreeMap<&'static str, usize>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<Op>,
    pub(crate) meshes: Vec<MeshReport>,
}

/// Plans the import of all meshes, or of those of these slugs or ids.
pub(crate) fn plan(
    tables: &Tables,
    only: &[String],
    now: u64,
    mut is_here: impl FnMut(&MeshId) -> bool,
) -> Plan {
    let mut plan = Plan::default();
    let by_mesh = Grouped::new(tables);
    for row in tables.of("mesh") {
        let (id, slug) = (text(row, "id"), short(text(row, "slug"), 128));
        if !only.is_empty() && !only.iter().any(|wanted| wanted == id || *wanted == slug) {
            continue;
        }
        let mut report = MeshReport {
            mesh: short(id, 64),
            slug: slug.clone(),
            what: What::Imported,
            members: 0,
            removed: 0,
            invites: 0,
            topics: 0,
            state: 0,
            memories: 0,
            left: BTreeMap::new(),
        };
        report.what = match MeshId::new(id) {
            Err(_) => What::Unusable("its id is none"),
            Ok(_) if row.get("archived_at").is_some() => What::Archived,
            Ok(mesh) if is_here(&mesh) => What::Here,
            Ok(mesh) => {
                let mut one = One {
                    mesh,
                    now,
                    ops: Vec::new(),
                    keys: HashMap::new(),
                    names: HashMap::new(),
                    report: &mut report,
                };
                match one.all(row, &by_mesh) {
                    Ok(()) => {
                        plan.ops.append(&mut one.ops);
                        What::Imported
                    }
                    Err(why) => What::Unusable(why),
                }
            }
        };
        plan.meshes.push(report);
    }
    plan
}

fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row.get(column).unwrap_or("")
}

fn at(row: &Row, column: &str) -> u64 {
    row.get(column).and_then(time).unwrap_or(0)
}

/// Rows by the mesh, or the topic, that they are of.
struct Grouped<'t>(HashMap<&'static str, HashMap<&'t str, Vec<&'t Row>>>);

impl<'t> Grouped<'t> {
    fn new(tables: &'t Tables) -> Self {
        let mut all: HashMap<_, HashMap<_, Vec<&Row>>> = HashMap::new();
        for (table, column) in [
            ("member", "mesh_id"),
            ("invite", "mesh_id"),
            ("topic", "mesh_id"),
            ("topic_member", "topic_id"),
            ("topic_message", "topic_id"),
            ("state", "mesh_id"),
            ("memory", "mesh_id"),
            ("message_queue", "mesh_id"),
        ] {
            for row in tables.of(table) {
                if let Some(of) = row.get(column) {
                    let of_table = all.entry(table).or_default();
                    of_table.entry(of).or_default().push(row);
                }
            }
        }
        Self(all)
    }

    fn of(&self, table: &'static str, of: &str) -> &[&'t Row] {
        let rows = self.0.get(table).and_then(|rows| rows.get(of));
        rows.map_or(&[], Vec::as_slice)
    }
}

/// One mesh on its way.
struct One<'a> {
    mesh: MeshId,
    now: u64,
    ops: Vec<Op>,
    /// By member id.
    keys: HashMap<String, PublicKey>,
    /// By display name, where only one has it.
    names: HashMap<String, Option<PublicKey>>,
    report: &'a mut MeshReport,
}

impl One<'_> {
    fn leave(&mut self, what: &'static str, count: usize) {
        if count > 0 {
            *self.report.left.entry(what).or_default() += count;
        }
    }

    fn item(&mut self, kind: &str, key: String, value: &Value) {
        let row = ItemRow {
            mesh: self.mesh.clone(),
            kind: kind.to_owned(),
            key,
            value: value.to_string(),
            at: self.now,
        };
        self.ops.push(Op::Value(ValueOp::Item {
            row,
            max: u64::MAX,
            event: None,
        }));
    }

    fn all(&mut self, row: &Row, rows: &Grouped<'_>) -> Result<(), &'static str> {
        let id = self.mesh.as_str().to_owned();
        let members = self.members(rows.of("member", &id), text(row, "owner_user_id"));
        let owner = members.iter().find(|member| member.role == Role::Owner);
        let named = row.get("owner_pubkey").map(PublicKey::from_hex);
        let key = match (named, owner) {
            (Some(Ok(key)), _) => key,
            (_, Some(owner)) => owner.key,
            _ => return Err("neither its owner's key nor its owner is known"),
        };
        let nobody = || Name::new("owner").map_err(|_| "its owner has no name");
        let mesh = MeshRow {
            id: self.mesh.clone(),
            slug: self.report.slug.clone(),
            owner: key,
            owner_name: owner.map_or_else(nobody, |owner| Ok(owner.name.clone()))?,
            owner_member: match owner {
                Some(owner) => owner.id.clone(),
                None => MemberId::new(&id).map_err(|_| "its owner has no id")?,
            },
            created_at: at(row, "created_at"),
        };
        self.ops.push(Op::ImportMesh(Box::new(mesh)));
        for member in members {
            match member.removed_at {
                0 => self.report.members += 1,
                _ => self.report.removed += 1,
            }
            self.ops.push(Op::PutMember(Box::new(member)));
        }
        self.said_of_members(rows.of("member", &id));
        self.invites(rows.of("invite", &id));
        self.topics(rows.of("topic", &id), rows);
        self.state(rows.of("state", &id), key);
        self.memories(rows.of("memory", &id), key);
        let queue = rows.of("message_queue", &id).iter();
        let queue = queue.filter(|row| row.get("delivered_at").is_none());
        self.leave("messages that nobody fetched yet", queue.count());
        Ok(())
    }

    /// One row for each key: that system has several where somebody joined again.
    fn members(&mut self, rows: &[&Row], owner_user: &str) -> Vec<MemberRow> {
        let mut by_key: BTreeMap<PublicKey, MemberRow> = BTreeMap::new();
        let mut sorted = rows.to_vec();
        sorted.sort_by_key(|row| at(row, "joined_at"));
        let (mut owner, mut unusable) = (None, 0);
        for row in sorted {
            let key = PublicKey::from_hex(text(row, "peer_pubkey"));
            let id = MemberId::new(text(row, "id"));
            // Some have a key of another kind, by which nobody can say hello.
            let (Ok(key), Ok(id)) = (key, id) else {
                unusable += 1;
                continue;
            };
            self.keys.insert(id.as_str().to_owned(), key);
            let name = short(text(row, "display_name"), 64);
            self.names
                .entry(name.clone())
                .and_modify(|known| *known = known.filter(|known| *known == key))
                .or_insert(Some(key));
            let Ok(name) = Name::new(name).or_else(|_| Name::new(key.short())) else {
                unusable += 1;
                continue;
            };
            let removed_at = match row.get("revoked_at") {
                Some(_) => at(row, "revoked_at").max(1),
                None => 0,
            };
            let user = row.get("user_id").filter(|user| !user.is_empty());
            if user == Some(owner_user) && removed_at == 0 && owner.is_none() {
                owner = Some(key);
            }
            let role = match text(row, "role") {
                "admin" => Role::Admin,
                _ => Role::Member,
            };
            let member = MemberRow {
                mesh: self.mesh.clone(),
                key,
                id,
                name,
                role,
                logged: false,
                joined_at: at(row, "joined_at"),
                last_seen: 0,
                removed_at,
            };
            match by_key.get(&key) {
                Some(known) if known.removed_at == 0 && removed_at != 0 => {}
                _ => {
                    by_key.insert(key, member);
                }
            }
        }
        self.leave("members without a usable key", unusable);
        if let Some(row) = owner.and_then(|key| by_key.get_mut(&key)) {
            row.role = Role::Owner;
        }
        by_key.into_values().collect()
    }

    /// Whom members let send to them, and in which groups they are.
    fn said_of_members(&mut self, rows: &[&Row]) {
        for row in rows.iter().filter(|row| row.get("revoked_at").is_none()) {
            let Ok(key) = PublicKey::from_hex(text(row, "peer_pubkey")) else {
                continue;
            };
            let parsed = |column| serde_json::from_str::<Value>(text(row, column)).ok();
            if let Some(grants @ Value::Object(_)) = parsed("peer_grants")
                && grants.as_object().is_some_and(|all| !all.is_empty())
            {
                self.item("grants", key.to_hex(), &grants);
            }
            if let Some(groups @ Value::Array(_)) = parsed("default_groups")
                && groups.as_array().is_some_and(|all| !all.is_empty())
            {
                let seen = self.now;
                let value = json!({"groups": groups, "summary": null, "stats": null, "seen": seen});
                self.item("peer", key.to_hex(), &value);
            }
        }
    }

    fn invites(&mut self, rows: &[&Row]) {
        let mut closed = 0;
        for row in rows {
            let number = |column, default: u64| text(row, column).parse().unwrap_or(default);
            let (max, used) = (number("max_uses", 1), number("used_count", 0));
            let expires_at = at(row, "expires_at");
            let open = row.get("revoked_at").is_none()
                && number("version", 1) == 1
                && used < max
                && expires_at > self.now;
            let Some(token) = row.get("token").filter(|_| open) else {
                closed += 1;
                continue;
            };
            let role = match text(row, "role") {
                "admin" => "admin",
                _ => "member",
            };
            let value = json!({
                "role": role, "max_uses": max, "used": used, "expires_at": expires_at,
            });
            self.item("invite", sha256(token.as_bytes()).to_hex(), &value);
            self.report.invites += 1;
        }
        self.leave("links that are used up, expired or of another kind", closed);
    }

    fn topics(&mut self, rows: &[&Row], all: &Grouped<'_>) {
        let (mut archived, mut said) = (0, 0);
        let mut names = BTreeSet::new();
        for row in rows {
            let (id, name) = (text(row, "id"), short(text(row, "name"), 64));
            let usable = MemberId::new(id).is_ok() && !name.is_empty();
            if row.get("archived_at").is_some() || !usable || !names.insert(name.clone()) {
                archived += 1;
                continue;
            }
            let visibility = match text(row, "visibility") {
                kept @ ("private" | "dm") => kept,
                _ => "public",
            };
            let description = row.get("description").map(|text| short(text, 1_024));
            let value = json!({
                "name": name,
                "description": description,
                "visibility": visibility,
                "created_at": at(row, "created_at"),
            });
            self.item("topic", id.to_owned(), &value);
            self.report.topics += 1;
            for member in all.of("topic_member", id) {
                let Some(key) = self.keys.get(text(member, "member_id")).copied() else {
                    continue;
                };
                let role = match text(member, "role") {
                    kept @ ("lead" | "observer") => kept,
                    _ => "member",
                };
                let value = json!({
                    "role": role,
                    "joined_at": at(member, "joined_at"),
                    "last_read_at": member.get("last_read_at").and_then(time),
                });
                self.item("topic_member", format!("{id}/{}", key.to_hex()), &value);
            }
            said += all.of("topic_message", id).len();
        }
        self.leave("topics that were archived", archived);
        self.leave("messages that were said in topics", said);
    }

    /// Who has this name, if only one has.
    fn called(&self, name: &str) -> Option<PublicKey> {
        self.names.get(name).copied().flatten()
    }

    fn state(&mut self, rows: &[&Row], owner: PublicKey) {
        let mut large = 0;
        for row in rows {
            let (key, value) = (text(row, "key"), text(row, "value"));
            let json = serde_json::from_str::<Value>(value).ok();
            let fits = !key.is_empty() && key.len() <= KEY && value.len() <= VALUE;
            let Some(json) = json.filter(|_| fits) else {
                large += 1;
                continue;
            };
            let name = short(text(row, "updated_by_name"), 64);
            let row = StateRow {
                key: key.to_owned(),
                value: json.to_string(),
                version: 1,
                writer: self.called(&name).unwrap_or(owner),
                name,
                at: at(row, "updated_at"),
            };
            self.ops.push(Op::Value(ValueOp::SetState(SetState {
                mesh: self.mesh.clone(),
                row,
                if_version: None,
                request: None,
                max: u64::MAX,
            })));
            self.report.state += 1;
        }
        self.leave("values that are too large", large);
    }

    fn memories(&mut self, rows: &[&Row], owner: PublicKey) {
        let (mut forgotten, mut large) = (0, 0);
        let mut sorted = rows.to_vec();
        sorted.sort_by_key(|row| at(row, "remembered_at"));
        for row in sorted {
            let (id, content) = (text(row, "id"), text(row, "content"));
            if row.get("forgotten_at").is_some() {
                forgotten += 1;
                continue;
            }
            if MemberId::new(id).is_err() || content.is_empty() || content.len() > VALUE {
                large += 1;
                continue;
            }
            let name = short(text(row, "remembered_by_name"), 64);
            let by = self.keys.get(text(row, "remembered_by")).copied();
            let tags = row.get("tags").and_then(array).unwrap_or_default();
            let tags = tags.iter().take(32).map(|tag| short(tag, 64));
            let row = MemoryRow {
                id: id.to_owned(),
                content: content.to_owned(),
                tags: tags.filter(|tag| !tag.is_empty()).collect(),
                sealed: false,
                writer: by.or_else(|| self.called(&name)).unwrap_or(owner),
                name,
                at: at(row, "remembered_at"),
            };
            self.ops.push(Op::Value(ValueOp::Remember {
                mesh: self.mesh.clone(),
                row,
                max: u64::MAX,
            }));
            self.report.memories += 1;
        }
        self.leave("memories that were forgotten", forgotten);
        self.leave("memories that are too large", large);
    }
}
