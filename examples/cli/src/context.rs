//! What most commands begin with: the configuration, the mesh that is meant, a peer.

use std::io::IsTerminal as _;
use std::time::Duration;

use claudemesh_core::Network;
use claudemesh_core::config::{Config, MeshEntry, SessionIdentity, SessionKeys};
use claudemesh_core::id::{PublicKey, SessionId, SessionName, Target};
use claudemesh_core::peer::{MemberInfo, Peer, PeerBuilder, ResolveError, SendError};
use claudemesh_core::session::Retry;
use claudemesh_core::store::SendState;
use serde_json::{Value, json};

use crate::agent::address::{VARIABLE, of_folder};
use crate::cli::Global;
use crate::exit::{Code, Failure};
use crate::format::clean_line;
use crate::output::Output;

/// How long a command at its end waits for the answers to what it sends along.
const PARTING: Duration = Duration::from_secs(2);
/// How long it waits for the connection, if something is to be sent along.
const GREETING: Duration = Duration::from_millis(500);
/// Milliseconds between the tries of a program that runs for seconds.
const RETRY_MS: u64 = 250;

/// The configuration and the way to speak.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) out: Output,
    wanted: Option<String>,
    named: Named,
}

/// The session that was named, by its id, its name or both.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    pub(crate) id: Option<SessionId>,
    pub(crate) name: Option<SessionName>,
}

impl Named {
    /// As the arguments or the environment have it. An empty variable names none.
    fn of(global: &Global) -> Result<Self, Failure> {
        let id = global.session.as_deref().filter(|id| !id.is_empty());
        let id = id.map(SessionId::new).transpose().map_err(|error| {
            Failure::usage(format!("--session, or CLAUDEMESH_SESSION_ID: {error}"))
        })?;
        let name = global.as_name.as_deref().filter(|name| !name.is_empty());
        let name = name.map(SessionName::new).transpose();
        let name = name.map_err(|error| Failure::usage(format!("--as, or {VARIABLE}: {error}")))?;
        Ok(Self { id, name })
    }
}

impl Context {
    pub(crate) fn load(global: &Global, out: &Output) -> Result<Self, Failure> {
        let mut config = Config::load_default()?;
        if let Some(file) = global
            .ca
            .as_ref()
            .filter(|file| !file.as_os_str().is_empty())
        {
            config.set_network(Network::new().ca(file));
        }
        // An empty variable is the shell's way of saying none.
        let wanted = global.mesh.clone().filter(|mesh| !mesh.is_empty());
        let out = *out;
        Ok(Self {
            config,
            out,
            wanted,
            named: Named::of(global)?,
        })
    }

    /// The session that this command belongs to, if one was named.
    fn session(&self, mesh: &MeshEntry) -> Result<Option<SessionIdentity>, Failure> {
        let id = match (&self.named.id, &self.named.name) {
            (None, None) => return Ok(None),
            (None, Some(name)) => return Ok(Some(SessionKeys::of(mesh)?.open_named(name)?)),
            (Some(id), _) => id,
        };
        let wanted = self.named.name.clone().unwrap_or_else(of_folder);
        let keys = SessionKeys::of(mesh)?;
        Ok(Some(keys.open(id, &wanted, self.named.name.is_some())?))
    }

    /// The mesh that was named, or the only one.
    pub(crate) fn mesh(&self) -> Result<MeshEntry, Failure> {
        let names = || {
            let names = self.config.meshes().iter().map(|m| clean_line(&m.slug));
            names.collect::<Vec<_>>().join(", ")
        };
        if let Some(wanted) = &self.wanted {
            let found = self.config.mesh(wanted).cloned();
            return found.ok_or_else(|| {
                let known = match names().as_str() {
                    "" => "there is none yet: `claudemesh create` or `claudemesh join`".to_owned(),
                    names => format!("there are: {names}"),
                };
                let message = format!("no mesh is called {wanted:?} here; {known}");
                Failure::new(Code::NoMesh, message)
            });
        }
        match self.config.meshes() {
            [] => Err(Failure::new(
                Code::NoMesh,
                "no mesh yet: make one with `claudemesh create NAME --broker URL`, or join one with \
                 `claudemesh join 'LINK'`",
            )),
            [one] => Ok(one.clone()),
            _ => Err(Failure::usage(format!(
                "there are several meshes: {}; say which one with --mesh, or set CLAUDEMESH_MESH",
                names()
            ))),
        }
    }

    /// The mesh that was named, as it was named.
    pub(crate) fn wanted(&self) -> Option<&str> {
        self.wanted.as_deref()
    }

    /// The session that was named.
    pub(crate) const fn named(&self) -> &Named {
        &self.named
    }

    /// Makes a peer of the session that was named, if one was.
    pub(crate) fn builder(&self, mesh: &MeshEntry) -> Result<PeerBuilder, Failure> {
        let builder = self.bare_builder(mesh);
        Ok(match self.session(mesh)? {
            Some(session) => builder.as_session(session),
            None => builder,
        })
    }

    /// Makes a peer that reaches its broker as `--ca` says, or else as the mesh remembers.
    pub(crate) fn bare_builder(&self, mesh: &MeshEntry) -> PeerBuilder {
        let builder = Peer::builder(mesh);
        match self.config.network().ca_file() {
            Some(file) => builder.ca(file),
            None => builder,
        }
    }

    /// A peer for as long as this command runs: not shown to the mesh.
    pub(crate) async fn open(&self, mesh: &MeshEntry, receive: bool) -> Result<Peer, Failure> {
        let peer = self
            .builder(mesh)?
            .presence(false)
            .receive(receive)
            .retry(Retry::Every(RETRY_MS))
            .connect()
            .await?;
        Ok(peer)
    }

    /// The name by which others are to see this machine.
    pub(crate) fn display_name(&self, given: Option<&str>) -> String {
        let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
        given
            .map(str::to_owned)
            .or_else(|| self.config.display_name().map(str::to_owned))
            .or_else(user)
            .unwrap_or_else(|| "me".to_owned())
    }
}

/// Ends a command's peer. What waits in the outbox goes along if there is a connection, so any
/// command delivers what an earlier one could not.
pub(crate) async fn finish(peer: &Peer) {
    let waiting = peer.outbox(false).await.unwrap_or_default();
    if waiting.iter().any(|row| row.state == SendState::Queued) {
        // A command that needed no connection may be faster than its connection.
        drop(peer.connected_within(GREETING).await);
    }
    peer.close(PARTING).await;
    // What the broker was caught at is written by now, too.
    drop(peer.lies().await);
}

/// The key of who is meant.
pub(crate) async fn resolve(peer: &Peer, wanted: &str) -> Result<PublicKey, Failure> {
    match peer.resolve(wanted).await {
        // Who joined a moment ago may be in a log that is just being put in place.
        Err(SendError::Resolve(ResolveError::Unknown { .. })) if peer.is_connected() => {
            Ok(peer.resolve(wanted).await?)
        }
        Err(SendError::Resolve(unknown @ ResolveError::Unknown { .. })) => Err(Failure::new(
            Code::NotFound,
            format!("{unknown}; the broker is away, so who joined lately is not known here"),
        )),
        other => Ok(other?),
    }
}

/// As [`resolve`], and whom only the broker knows: by the whole key, or by the broker's word.
pub(crate) async fn resolve_any(peer: &Peer, wanted: &str) -> Result<PublicKey, Failure> {
    match resolve(peer, wanted).await {
        Ok(key) => Ok(key),
        Err(unknown) => match PublicKey::from_hex(wanted) {
            Ok(key) => Ok(key),
            Err(_) => peer.resolve_unverified(wanted).await?.ok_or(unknown),
        },
    }
}

/// A member's name, or the beginning of the key where there is none.
pub(crate) fn name_of(members: &[MemberInfo], key: &PublicKey) -> Option<String> {
    let member = members.iter().find(|member| member.key == *key);
    member.map(|member| member.shown.clone())
}

/// A channel, a member's name, or the beginning of its key where there is none.
pub(crate) fn target_name(peer: &Peer, to: &Target) -> String {
    match to {
        Target::Peer(key) => {
            name_of(&peer.members_and_former(), key).unwrap_or_else(|| key.short())
        }
        Target::Channel(channel) => channel.to_string(),
    }
}

/// To whom, as JSON has it.
pub(crate) fn target_json(peer: &Peer, to: &Target) -> Value {
    match to {
        Target::Peer(key) => {
            json!({ "name": name_of(&peer.members_and_former(), key), "pubkey": key })
        }
        Target::Channel(channel) => json!({ "channel": channel }),
    }
}

/// Whether there is a person to ask.
pub(crate) fn is_interactive(out: &Output) -> bool {
    !out.is_json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks a person; no answer is a no.
pub(crate) async fn ask(question: &str) -> Result<bool, Failure> {
    let question = crate::format::clean(question);
    let asked = tokio::task::spawn_blocking(move || {
        dialoguer::Confirm::new()
            .with_prompt(question)
            .default(false)
            .interact_opt()
    });
    match asked.await {
        Ok(Ok(answer)) => Ok(answer.unwrap_or(false)),
        Ok(Err(error)) => Err(Failure::new(Code::Io, format!("cannot ask: {error}"))),
        Err(error) => Err(Failure::new(Code::Internal, error.to_string())),
    }
}
