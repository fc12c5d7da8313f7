//! What the tests ask for.

use std::collections::HashMap;
use std::time::Duration;

use broker_min::testing::TestMesh;
use claudemesh_core::id::ChannelName;
use claudemesh_core::{Incoming, InviteOptions, Peer};
use serde_json::{Value, json};
use tokio::time::timeout;

/// Why a command was not done.
pub(crate) type Problem = Box<dyn std::error::Error + Send + Sync>;

/// How long anything may take.
const SOON: Duration = Duration::from_secs(30);

/// A mesh with the peers that were named so far.
pub(crate) struct Mesh {
    mesh: TestMesh,
    peers: HashMap<String, Member>,
}

struct Member {
    peer: Peer,
    incoming: Option<Incoming>,
}

impl Mesh {
    /// Starts a broker with a mesh.
    pub(crate) async fn start() -> Result<Self, Problem> {
        Ok(Self {
            mesh: TestMesh::start().await?,
            peers: HashMap::new(),
        })
    }

    /// Where it is.
    pub(crate) fn about(&self) -> Value {
        json!({ "broker": self.mesh.url().to_string(), "mesh": self.mesh.id().as_str() })
    }

    async fn member(&mut self, name: &str) -> Result<&mut Member, Problem> {
        if !self.peers.contains_key(name) {
            let peer = self.mesh.peer(name).await?;
            let member = Member {
                peer,
                incoming: None,
            };
            self.peers.insert(name.to_owned(), member);
        }
        self.peers
            .get_mut(name)
            .ok_or_else(|| "the peer is gone".into())
    }

    /// Does one command.
    pub(crate) async fn command(&mut self, line: &str) -> Result<Value, Problem> {
        let asked: Value = serde_json::from_str(line)?;
        let text = |name: &str| -> Result<&str, Problem> {
            let value = asked.get(name).and_then(Value::as_str);
            value.ok_or_else(|| format!("`{name}` is missing").into())
        };
        let number = |name: &str| asked.get(name).and_then(Value::as_u64);
        match text("do")? {
            "invite" => {
                let options = InviteOptions {
                    uses: number("uses").unwrap_or(1),
                    ..InviteOptions::default()
                };
                return Ok(json!(self.mesh.invite(options).await?));
            }
            "send" => {
                let member = self.member(text("from")?).await?;
                let receipt = member.peer.send(text("to")?, text("text")?).await?;
                timeout(SOON, receipt.accepted()).await??;
                return Ok(json!(receipt.id().as_str()));
            }
            "receive" => {
                let limit = Duration::from_secs(number("seconds").unwrap_or(10));
                return self.member(text("as")?).await?.receive(limit).await;
            }
            "send_many" => {
                let member = self.member(text("from")?).await?;
                let mut last = None;
                for n in 0..number("count").unwrap_or(0) {
                    last = Some(member.peer.send(text("to")?, format!("number {n}")).await?);
                }
                if let Some(receipt) = last {
                    timeout(SOON * 4, receipt.accepted()).await??;
                }
            }
            "receive_many" => {
                let member = self.member(text("as")?).await?;
                let mut texts = Vec::new();
                for _ in 0..number("count").unwrap_or(0) {
                    let message = member.receive(SOON).await?;
                    texts.push(message.get("text").cloned().unwrap_or_default());
                }
                return Ok(Value::Array(texts));
            }
            "key" => return Ok(json!(self.member(text("of")?).await?.peer.key().to_hex())),
            "members" => {
                let members = self.member(text("as")?).await?.peer.members();
                let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
                return Ok(json!(names));
            }
            "await_member" => {
                let member = self.member(text("as")?).await?;
                timeout(SOON, await_member(&member.peer, text("name")?)).await??;
            }
            "remove" => {
                let owner = &self.member("owner").await?.peer;
                let key = owner.resolve(text("name")?).await?;
                owner.remove(key, false).await?;
            }
            "create_channel" => {
                let channel = ChannelName::new(text("channel")?)?;
                let peer = &self.member(text("as")?).await?.peer;
                peer.create_channel(&channel, true).await?;
            }
            "join_channel" => {
                let channel = ChannelName::new(text("channel")?)?;
                let peer = &self.member(text("as")?).await?.peer;
                peer.join_channel(&channel).await?;
            }
            "leave_channel" => {
                let channel = ChannelName::new(text("channel")?)?;
                let peer = &self.member(text("as")?).await?.peer;
                peer.leave_channel(&channel).await?;
            }
            "stop_broker" => self.mesh.stop_broker().await?,
            "start_broker" => self.mesh.start_broker().await?,
            "kill_broker" => self.mesh.kill_broker().await?,
            "drop_connections" => self.mesh.drop_connection().await,
            "advance" => self
                .mesh
                .advance(Duration::from_secs(number("seconds").unwrap_or(0))),
            other => return Err(format!("no such command: {other}").into()),
        }
        Ok(Value::Null)
    }
}

impl Member {
    async fn receive(&mut self, limit: Duration) -> Result<Value, Problem> {
        if self.incoming.is_none() {
            self.incoming = Some(self.peer.incoming().await?);
        }
        let incoming = self.incoming.as_mut().ok_or("no reader")?;
        let message = timeout(limit, incoming.next()).await?;
        let message = message.ok_or("this peer is closed")?;
        message.taken().await?;
        Ok(json!({
            "id": message.id.as_str(),
            "text": message.text(),
            "sender": message.from.key.to_hex(),
            "sender_name": message.from.name.as_ref().map(|name| name.as_str()),
            "verified": message.from.verified,
            "channel": message.channel.as_ref().map(ChannelName::as_str),
            "reply_to": message.reply_to.as_ref().map(|id| id.as_str()),
        }))
    }
}

/// Waits until somebody is in the log that a peer holds.
async fn await_member(peer: &Peer, name: &str) -> Result<(), Problem> {
    let mut events = peer.events();
    let here = || peer.members().iter().any(|m| m.name.as_str() == name);
    while !here() {
        events.next().await.ok_or("this peer is closed")?;
    }
    Ok(())
}
