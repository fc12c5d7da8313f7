//! A mesh of as many members as a run needs. Their log entries are made here and posted, so that
//! thousands join in seconds; what the broker checks is the same as for any member.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{ChannelName, KeyId, MemberId, Name};
use claudemesh_core::invite::InviteToken;
use claudemesh_core::membership::{Body, Log};
use claudemesh_core::wire::SignedBlob;
use claudemesh_core::{
    BrokerUrl, Config, InviteOptions, MeshEntry, MeshId, NewInvite, Peer, PublicKey,
};
use serde_json::json;

use crate::error::{During as _, LoadError};
use crate::frames::key_of;
use crate::http;
use crate::report::Report;
use crate::wire::{Frame, Wire};

/// Joins by one invite at most.
const USES: usize = 1_000;
const SOON: Duration = Duration::from_secs(10);

/// Who is in the mesh.
pub(crate) struct Member {
    pub(crate) key: Arc<KeyPair>,
    pub(crate) id: MemberId,
    pub(crate) name: String,
}

impl Member {
    pub(crate) fn public(&self) -> PublicKey {
        self.key.public()
    }
}

/// A mesh that was made for this run.
pub(crate) struct Mesh {
    pub(crate) url: BrokerUrl,
    pub(crate) id: MeshId,
    owner: MeshEntry,
    joined: usize,
}

impl Mesh {
    /// Makes one.
    pub(crate) async fn make(url: &BrokerUrl) -> Result<Self, LoadError> {
        let mut config = Config::in_memory();
        let made = config.create("load", url, "owner").await;
        let owner = made.during("making a mesh")?.mesh;
        Ok(Self {
            url: url.clone(),
            id: owner.mesh_id.clone(),
            owner,
            joined: 0,
        })
    }

    /// An invite of the owner, and the log that has it.
    pub(crate) async fn invite(&self, uses: u64) -> Result<(NewInvite, Arc<Log>), LoadError> {
        let owner = Peer::builder(&self.owner)
            .in_memory()
            .presence(false)
            .receive(false);
        let owner = owner.connect().await.during("the owner's peer")?;
        owner
            .connected_within(SOON)
            .await
            .during("the owner's peer")?;
        owner.sync().await.during("the log")?;
        let options = InviteOptions {
            uses,
            ..InviteOptions::default()
        };
        let invite = owner.invite(options).await.during("an invite")?;
        let log = owner.log();
        owner.close(SOON).await;
        let log = log.ok_or_else(|| LoadError::step("an invite", "the mesh has no log"))?;
        Ok((invite, log))
    }

    /// So many new members.
    pub(crate) async fn join(
        &mut self,
        count: usize,
        report: &Report,
    ) -> Result<Vec<Member>, LoadError> {
        let bar = report.bar(u64::try_from(count).unwrap_or(0), "joining");
        let mut members = Vec::with_capacity(count);
        while members.len() < count {
            let (invite, log) = self.invite(1_000).await?;
            let mut log = Log::clone(&log);
            for _ in 0..USES.min(count - members.len()) {
                members.push(self.join_one(&invite, &mut log).await?);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(members)
    }

    async fn join_one(&mut self, invite: &NewInvite, log: &mut Log) -> Result<Member, LoadError> {
        self.joined += 1;
        let name = format!("load-{}", self.joined);
        let key = Arc::new(KeyPair::from_seed(&random()?));
        let body = Body::MemberJoined {
            key: key.public(),
            name: Name::new(&name).during("a name")?,
            invite: invite.id,
        };
        let invite_key = invite.issued.fragment.key();
        let entry = log.draft(unix_ms(), body).sign(&invite_key, Some(&key));
        log.append(&entry).during("an own log entry")?;
        let blob = SignedBlob::new(&entry.bytes, &entry.signature, entry.cosignature.as_ref());
        let token = &invite.issued.token;
        let request = json!({
            "invite_token": token,
            "invite_payload": InviteToken::parse(token).during("an own token")?,
            "peer_pubkey": key.public(),
            "display_name": name,
            "log_entry": blob,
        });
        let answer = http::post(&self.url, "/join", &request).await?;
        let id = answer.get("memberId").and_then(serde_json::Value::as_str);
        let id = MemberId::new(id.unwrap_or_default()).during("the broker's member id")?;
        Ok(Member { key, id, name })
    }

    /// The key of the channel of everyone: the owner makes it by sending to all. `listener` is
    /// whoever hears of it here.
    pub(crate) async fn key_for_all(&self, listener: &Member) -> Result<KeyId, LoadError> {
        let what = "a key for everyone";
        let owner = Peer::builder(&self.owner).in_memory().receive(false);
        let owner = owner.connect().await.during(what)?;
        owner.connected_within(SOON).await.during(what)?;
        owner.sync().await.during(what)?;
        let everyone = ChannelName::new("*").during(what)?;
        let receipt = owner.send(everyone, "hello").await.during(what)?;
        receipt.accepted().await.during(what)?;
        owner.close(SOON).await;
        let mut wire = Wire::connect(self, listener).await?;
        let heard = async {
            loop {
                let text = wire.next().await?;
                let frame = Frame::read(&text)?;
                let key = frame.ciphertext.and_then(key_of);
                if let (Some(key), Some(id)) = (key, frame.broker_id) {
                    let id = id.to_owned();
                    wire.settle(vec![id]).await?;
                    return Ok(key);
                }
            }
        };
        tokio::time::timeout(SOON, heard).await.during(what)?
    }

    /// What a real peer of a member starts from.
    pub(crate) fn entry(&self, member: &Member) -> MeshEntry {
        let joined = claudemesh_core::time::iso(unix_ms());
        let (mesh, id) = (self.id.clone(), member.id.clone());
        let key = Arc::clone(&member.key);
        let mut entry = MeshEntry::new(mesh, id, "load", key, self.url.to_string(), joined);
        entry.log = Some(true);
        entry.display_name = Some(member.name.clone());
        entry
    }
}

/// Bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], LoadError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).during("random bytes")?;
    Ok(bytes)
}

/// The wall clock.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
