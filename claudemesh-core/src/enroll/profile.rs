//! What a broker keeps of a member beside the membership log: a tag, groups, how it takes messages.
//! Asked and changed over HTTP, by signed requests (docs/protocol.md, "Signed requests").

use serde_json::{Map, Value, json};

use super::JoinError;
use super::http::refused_or;
use crate::broker_url::BrokerUrl;
use crate::config::{Config, MeshEntry};
use crate::id::{MemberId, PublicKey};
use crate::identity::{HttpRequest, sign_request};
use crate::transport;
use crate::wire::HEADER_SIGNATURE;

/// The one credential that a broker of the existing system asks for; ours passes over it.
const HEADER_MEMBER: &str = "x-member-id";
/// Members of an answer that are read at most.
const MAX_MEMBERS: usize = 10_000;

/// A member as its broker shows it. All of it is the broker's word; who is a member, and as what, is
/// said by the membership log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberProfile {
    /// The broker's id of it.
    pub id: MemberId,
    /// Its key; a broker of the existing system does not tell it.
    pub key: Option<PublicKey>,
    /// Its name.
    pub name: String,
    /// What it is for, in a word or two.
    pub role_tag: Option<String>,
    /// The groups of a client of its that names none, each perhaps with a role in it.
    pub groups: Vec<(String, Option<String>)>,
    /// `push`, `inbox` or `off`.
    pub message_mode: String,
    /// `admin` or `member`.
    pub permission: String,
    /// Whether it has a connection.
    pub online: bool,
}

/// What is to be changed of a member; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// Its name. Names of members in a membership log stand there, and are refused as `in_log`.
    pub name: Option<String>,
    /// Its tag; an empty one takes it away.
    pub role_tag: Option<String>,
    /// All of its groups, each perhaps with a role in it.
    pub groups: Option<Vec<(String, Option<String>)>>,
    /// `push`, `inbox` or `off`.
    pub message_mode: Option<String>,
}

impl ProfileChange {
    fn body(&self) -> Value {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        let group = |(name, role): &(String, Option<String>)| match role {
            Some(role) => json!({ "name": name, "role": role }),
            None => json!({ "name": name }),
        };
        put("displayName", self.name.as_ref().map(|name| json!(name)));
        put("roleTag", self.role_tag.as_ref().map(|tag| json!(tag)));
        let groups = self.groups.as_ref();
        put(
            "groups",
            groups.map(|all| all.iter().map(group).collect::<Value>()),
        );
        put(
            "messageMode",
            self.message_mode.as_ref().map(|mode| json!(mode)),
        );
        Value::Object(fields)
    }
}

impl MemberProfile {
    /// None for a row that is no member's.
    fn read(row: &Value) -> Option<Self> {
        let text = |name: &str| row.get(name).and_then(Value::as_str);
        let groups = row.get("groups").and_then(Value::as_array);
        let groups = groups.into_iter().flatten().filter_map(|group| {
            let text = |name: &str| Some(group.get(name)?.as_str()?.to_owned());
            Some((text("name")?, text("role")))
        });
        Some(Self {
            id: MemberId::new(text("id")?).ok()?,
            key: text("pubkey").and_then(|key| PublicKey::from_hex(key).ok()),
            name: text("displayName").unwrap_or_default().to_owned(),
            role_tag: text("roleTag").map(str::to_owned),
            groups: groups.collect(),
            message_mode: text("messageMode").unwrap_or("push").to_owned(),
            permission: text("permission").unwrap_or("member").to_owned(),
            online: row.get("online").and_then(Value::as_bool).unwrap_or(false),
        })
    }
}

impl Config {
    /// The members of a mesh, as its broker shows them to one of them: in one signed request, which
    /// takes 15 s at most. Rows that are no member's are left out.
    ///
    /// # Errors
    /// [`JoinError::Broker`], [`JoinError::Transport`], [`JoinError::Refused`].
    pub async fn member_profiles(&self, mesh: &MeshEntry) -> Result<Vec<MemberProfile>, JoinError> {
        let path = format!("/mesh/{}/members", mesh.mesh_id);
        let answer = self.ask_signed(mesh, "GET", &path, None).await?;
        let rows = answer.get("members").and_then(Value::as_array);
        let rows = rows.into_iter().flatten().take(MAX_MEMBERS);
        Ok(rows.filter_map(MemberProfile::read).collect())
    }

    /// Changes what the broker keeps of a member: of oneself, or, for the owner and admins, of
    /// another one. Gives the member as it is now, or none if the broker did not say. The request is
    /// signed; a broker of the existing system goes by the member id in it. The broker reads what is
    /// written here, and shows it to all members.
    ///
    /// Dropping the future may or may not have changed it.
    ///
    /// # Errors
    /// [`JoinError::Broker`], [`JoinError::Transport`], [`JoinError::Refused`]; its code is `in_log`
    /// for what stands in the membership log, `forbidden` for what is not one's own.
    pub async fn change_profile(
        &self,
        mesh: &MeshEntry,
        member: &MemberId,
        change: &ProfileChange,
    ) -> Result<Option<MemberProfile>, JoinError> {
        let path = format!("/mesh/{}/member/{member}", mesh.mesh_id);
        let body = change.body().to_string();
        let answer = self.ask_signed(mesh, "PATCH", &path, Some(body)).await?;
        Ok(answer.get("member").and_then(MemberProfile::read))
    }

    /// One request that is signed by the member's key.
    async fn ask_signed(
        &self,
        mesh: &MeshEntry,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> Result<Value, JoinError> {
        let broker: BrokerUrl = mesh.broker_url.parse()?;
        let request = HttpRequest {
            method,
            host: &broker.authority(),
            target: path,
            body: body.as_deref().unwrap_or_default().as_bytes(),
        };
        let signature = sign_request(&request, mesh.key_pair(), super::unix_ms());
        let headers = [
            (HEADER_SIGNATURE, signature),
            (HEADER_MEMBER, mesh.member_id.as_str().to_owned()),
        ];
        let network = self.network_for(&mesh.mesh_id);
        let answer = transport::call(&broker, &network, method, path, &headers, body).await?;
        refused_or(&answer)
    }
}
