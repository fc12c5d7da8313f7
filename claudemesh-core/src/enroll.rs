//! Becoming part of a mesh: make one, or redeem an invite. Over HTTP, before there is a session.
//!
//! Implements docs/protocol.md, sections "Invites" and "Making a mesh". Keys are made here and
//! stay here; what goes to the broker is signed log entries.

pub(crate) mod http;
mod profile;
mod recover;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use self::http::{answer_json, blob, fetch_log, member_id, post, post_with};
use crate::broker_url::{BrokerUrl, BrokerUrlError};
use crate::config::{Config, ConfigError, MeshEntry};
use crate::crypto::{ExposedText, KeyError, KeyPair};
use crate::id::{IdError, InviteId, MemberId, MeshId, MeshSlug, Name, PublicKey};
use crate::invite::{Fragment, InviteError, InviteToken, Link, LinkParts, TokenRole, parse_link};
use crate::membership::{Body, Draft, Log, LogError, Role, RuleError, SignedEntry};
use crate::peer::{PeerError, random};
use crate::store::StoreError;
use crate::transport::{self, Network, TransportError};

pub use self::profile::{MemberProfile, ProfileChange};

/// How often a join is signed anew after someone else was faster.
const MAX_TRIES: usize = 8;
/// Where in the configuration the keys of joins stand whose end is not known yet.
const PENDING: &str = "claudemeshPendingJoins";
/// Invite id in hex → secret key in hex.
type Pending = BTreeMap<String, String>;

/// Why a mesh could not be made or joined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The link cannot be used.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// The link's token and the mesh's log do not fit each other: somebody changed one of them.
    #[error(
        "this link does not fit the mesh's membership log ({0}); it was changed on the way, or the broker lies: ask for a new link by another way"
    )]
    DoesNotFit(&'static str),
    /// The log says that this invite cannot be used.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The log itself is not valid.
    #[error("the broker shows an invalid membership log: {0}")]
    Log(#[from] LogError),
    /// A name that cannot be used.
    #[error(transparent)]
    Name(#[from] IdError),
    /// The broker's address in the link cannot be used.
    #[error(transparent)]
    Broker(#[from] BrokerUrlError),
    /// The broker cannot be reached.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The broker refused.
    #[error("refused by the broker: {message} ({code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The stable code.
        code: String,
        /// What it said.
        message: String,
    },
    /// The link adds a device, and this machine is in that mesh.
    #[error(
        "this machine is in that mesh already; a device's link is for another machine, or for another CLAUDEMESH_CONFIG_DIR"
    )]
    HereAlready,
    /// Others keep joining at the same moment.
    #[error("others keep changing the mesh at the same time; try again")]
    Contention,
    /// The configuration cannot be read or written.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No random bytes.
    #[error(transparent)]
    System(#[from] PeerError),
}

impl JoinError {
    /// Whether the same link will not do later either, and nothing was begun.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Transport(_)
            | Self::Contention
            | Self::Config(_)
            | Self::Store(_)
            | Self::System(_) => false,
            Self::Refused { status, .. } => (400..500).contains(status) && *status != 429,
            _ => true,
        }
    }
}

/// What a link offers, as its token says; its signature holds, its log was not asked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// The mesh's short name.
    pub slug: String,
    /// The mesh's id.
    pub mesh: MeshId,
    /// Where one connects.
    pub broker: BrokerUrl,
    /// Who issued it: its owner or an admin.
    pub issuer: PublicKey,
    /// What one becomes.
    pub admin: bool,
    /// Unix seconds.
    pub expires_at: u64,
    /// Whether the link has its secret part: without it one joins as an unverified member.
    pub verified: bool,
}

/// The key that replaces a lost owner key. It is nowhere else: shown once, kept by its owner.
pub struct RecoveryKey(Arc<KeyPair>);

impl RecoveryKey {
    /// 128 hex digits, exposed on purpose.
    pub fn expose(&self) -> ExposedText {
        self.0.expose_secret_hex()
    }

    /// Reads what [`RecoveryKey::expose`] gave.
    ///
    /// # Errors
    /// [`KeyError`] if it is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        KeyPair::from_secret_hex(text.trim()).map(|pair| Self(Arc::new(pair)))
    }
}

/// What a broker's operator hands out to those who may make meshes there. It is a secret.
#[derive(Clone)]
pub struct CreateToken(Zeroizing<String>);

impl std::fmt::Debug for CreateToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CreateToken")
    }
}

impl std::str::FromStr for CreateToken {
    type Err = CreateTokenError;

    fn from_str(text: &str) -> Result<Self, CreateTokenError> {
        let text = text.trim();
        let fits = (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(Zeroizing::new(text.to_owned())))
            .ok_or(CreateTokenError)
    }
}

/// A token is 1–256 visible ASCII characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is one word of 1–256 letters, digits and signs, as its operator gave it")]
pub struct CreateTokenError;

/// A mesh that was just made.
pub struct Created {
    /// The entry, as it stands in the configuration.
    pub mesh: MeshEntry,
    /// To be shown once.
    pub recovery_key: RecoveryKey,
}

/// A link, resolved to its token.
struct Opened {
    text: String,
    token: InviteToken,
    mesh: MeshId,
    broker: BrokerUrl,
    issuer: PublicKey,
    fragment: Option<Fragment>,
}

/// Reads a link and verifies its token, without joining. Only a short code needs the network: it is
/// exchanged at its host, within 15 s.
///
/// # Errors
/// [`JoinError::Invite`], [`JoinError::Name`] and [`JoinError::Broker`] for a link that cannot be
/// used; for a code also [`JoinError::Transport`] and [`JoinError::Refused`].
pub async fn preview(link: &str) -> Result<Preview, JoinError> {
    preview_over(link, &Network::new()).await
}

/// As [`preview`], by a way of one's own.
///
/// # Errors
/// As [`preview`].
pub async fn preview_over(link: &str, network: &Network) -> Result<Preview, JoinError> {
    let opened = open(link, network).await?;
    Ok(Preview {
        slug: opened.token.mesh_slug.clone(),
        mesh: opened.mesh,
        broker: opened.broker,
        issuer: opened.issuer,
        admin: opened.token.role == TokenRole::Admin,
        expires_at: opened.token.expires_at,
        verified: opened.fragment.is_some(),
    })
}

impl Config {
    /// Joins the mesh of a link under a name (1–64 bytes), and keeps the entry. A link without its
    /// secret part makes an unverified member, whose entry has no log. Joining by the same link again
    /// gives the same entry, also after a crash in between.
    ///
    /// Dropping the future may leave the join done at the broker; the same call finishes it.
    ///
    /// # Errors
    /// [`JoinError`]; what is wrong with a link is found before anything is sent.
    pub async fn join(&mut self, link: &str, name: &str) -> Result<MeshEntry, JoinError> {
        let name = Name::new(name)?;
        // A link that was used here before is good for finding its mesh again, whatever its age.
        if let Some(fragment) = fragment_of(link)?
            && let Some(known) = self.joined_by(&fragment.invite())
        {
            return Ok(known.clone());
        }
        let opened = open(link, self.network()).await?;
        match &opened.fragment {
            Some(fragment) => {
                let result = self.join_logged(&opened, fragment, &name).await;
                if result.as_ref().is_err_and(JoinError::is_final) {
                    self.forget_pending(&fragment.invite())?;
                }
                result
            }
            None => self.join_unverified(&opened, &name).await,
        }
    }

    /// Makes a mesh at a broker, with a fresh owner key, and keeps the entry. `slug` is 1–64 of
    /// `a–z 0–9 . _ -`, the first a letter or digit; `name` is the owner's, 1–64 bytes. An entry of
    /// another mesh that is called so keeps its name, and this one gets a number.
    ///
    /// Dropping the future may leave a mesh at the broker that nobody owns; it does no harm. So may
    /// an error after the broker took it.
    ///
    /// # Errors
    /// [`JoinError::Name`] before anything is sent; [`JoinError::Transport`],
    /// [`JoinError::Refused`]; [`JoinError::Config`], [`JoinError::Store`] if it could not be kept;
    /// [`JoinError::System`].
    pub async fn create(
        &mut self,
        slug: &str,
        broker: &BrokerUrl,
        name: &str,
    ) -> Result<Created, JoinError> {
        self.create_with(slug, broker, name, None).await
    }

    /// As [`Config::create`], at a broker that lets only holders of a token make meshes.
    ///
    /// # Errors
    /// As [`Config::create`]; [`JoinError::Refused`] with the code `token_required`,
    /// `token_invalid` or `creation_closed`.
    pub async fn create_with(
        &mut self,
        slug: &str,
        broker: &BrokerUrl,
        name: &str,
        token: Option<&CreateToken>,
    ) -> Result<Created, JoinError> {
        let (slug, name) = (MeshSlug::new(slug)?, Name::new(name)?);
        let owner = KeyPair::from_seed(&Zeroizing::new(random::<32>()?));
        let recovery = KeyPair::from_seed(&Zeroizing::new(random::<32>()?));
        let body = Body::MeshCreated {
            slug: slug.clone(),
            salt: random()?,
            recovery: Some(recovery.public()),
            name: name.clone(),
        };
        let prev = crate::id::Hash::ZERO;
        let draft = Draft {
            mesh: None,
            seq: 0,
            prev,
            at: unix_ms(),
            body,
        };
        let entry = draft.sign(&owner, None);
        let mesh = entry.mesh_id();
        let body = json!({ "log_entry": blob(&entry) });
        let header = token.map(|token| ("authorization", format!("Bearer {}", token.0.as_str())));
        let headers = header.as_slice();
        let answer = post_with(self.network(), broker, "/mesh/create", headers, &body).await?;
        let member = member_id(&answer, "memberId")?;
        let mut kept = MeshEntry::new(
            mesh,
            member,
            slug.as_str(),
            Arc::new(owner),
            broker.to_string(),
            now_iso(),
        );
        kept.display_name = Some(name.as_str().to_owned());
        kept.log = Some(true);
        let mesh = self.keep(kept, &[entry])?;
        Ok(Created {
            mesh,
            recovery_key: RecoveryKey(Arc::new(recovery)),
        })
    }

    fn joined_by(&self, invite: &InviteId) -> Option<&MeshEntry> {
        let id = invite.to_hex();
        self.meshes()
            .iter()
            .find(|mesh| mesh.invite_id.as_deref() == Some(&id))
    }

    async fn join_logged(
        &mut self,
        opened: &Opened,
        fragment: &Fragment,
        display_name: &Name,
    ) -> Result<MeshEntry, JoinError> {
        let id = fragment.invite();
        let invite_key = fragment.key();
        let network = self.network().clone();
        let mut entries = Vec::new();
        for _ in 0..MAX_TRIES {
            // A join that was cut off is finished with the key it began with.
            let (key, begun) = self.pending_key(&id)?;
            let fetched = fetch_log(
                &network,
                &opened.mesh,
                &opened.broker,
                &invite_key,
                &mut entries,
            )
            .await;
            if let Err(refused @ JoinError::Refused { .. }) = fetched {
                // By now the invite may be used up, by this very key: then that key may read.
                if !begun
                    || fetch_log(&network, &opened.mesh, &opened.broker, &key, &mut entries)
                        .await
                        .is_err()
                {
                    return Err(refused);
                }
            } else {
                fetched?;
            }
            let log = Log::verify(&opened.mesh, &entries)?;
            let already = log.roster().member_or_former(&key.public()).is_some();
            if !already {
                check_link(&log, opened, fragment)?;
            }
            let (member, name) = (key.public(), display_name.clone());
            let invited = log.roster().invite(&id).map(|invite| invite.role);
            // The entry that is here would be lost, and with it its key.
            let here = self.meshes().iter().any(|m| m.mesh_id == opened.mesh);
            if invited == Some(Role::Device) && here {
                return Err(JoinError::HereAlready);
            }
            let body = match invited {
                Some(Role::Device) => Body::DeviceLinked {
                    key: member,
                    name,
                    invite: id,
                },
                _ => Body::MemberJoined {
                    key: member,
                    name,
                    invite: id,
                },
            };
            let entry = log.draft(unix_ms(), body).sign(&invite_key, Some(&key));
            if !already {
                log.clone().append(&entry).map_err(|error| match error {
                    LogError::Rule { source, .. } => JoinError::Rule(source),
                    other => JoinError::Log(other),
                })?;
            }
            let mut request = join_request(opened, &member, display_name);
            if let Value::Object(fields) = &mut request {
                fields.insert("log_entry".to_owned(), blob(&entry));
            }
            match post(&network, &opened.broker, "/join", &request).await {
                Ok(answer) => {
                    if !already {
                        entries.push(entry);
                    }
                    let member = member_id(&answer, "memberId")?;
                    return self.joined(opened, Some(id), key, member, display_name, &entries);
                }
                Err(JoinError::Refused { code, .. }) if code == "log_conflict" => {}
                Err(error) => return Err(error),
            }
        }
        Err(JoinError::Contention)
    }

    async fn join_unverified(
        &mut self,
        opened: &Opened,
        name: &Name,
    ) -> Result<MeshEntry, JoinError> {
        let known = self
            .meshes()
            .iter()
            .find(|mesh| mesh.mesh_id == opened.mesh);
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let key = KeyPair::from_seed(&Zeroizing::new(random::<32>()?));
        let request = join_request(opened, &key.public(), name);
        let answer = post(self.network(), &opened.broker, "/join", &request).await?;
        let member = member_id(&answer, "memberId")?;
        self.joined(opened, None, Arc::new(key), member, name, &[])
    }

    fn joined(
        &mut self,
        opened: &Opened,
        invite: Option<InviteId>,
        key: Arc<KeyPair>,
        member: MemberId,
        name: &Name,
        entries: &[SignedEntry],
    ) -> Result<MeshEntry, JoinError> {
        let slug = match MeshSlug::new(&opened.token.mesh_slug) {
            Ok(slug) => slug.as_str().to_owned(),
            // A name from elsewhere that cannot be typed: the id stands in for it.
            Err(_) => format!(
                "mesh-{}",
                opened.mesh.as_str().chars().take(8).collect::<String>()
            ),
        };
        let broker = opened.broker.to_string();
        let mesh = opened.mesh.clone();
        let mut kept = MeshEntry::new(mesh, member, slug, key, broker, now_iso());
        kept.display_name = Some(name.as_str().to_owned());
        kept.invite_id = invite.map(|id| id.to_hex());
        kept.log = invite.map(|_| true);
        let kept = self.keep(kept, entries)?;
        if let Some(invite) = invite {
            self.forget_pending(&invite)?;
        }
        Ok(kept)
    }

    /// Keeps an entry, and in its store the log that was verified for it: from then on only what
    /// extends it is believed.
    fn keep(&mut self, entry: MeshEntry, log: &[SignedEntry]) -> Result<MeshEntry, JoinError> {
        let id = entry.mesh_id.clone();
        let mut entry = entry;
        if let Some(file) = self.network().ca_file() {
            entry.set_ca_file(Some(file));
        }
        self.put_mesh(entry.clone())?;
        let kept = self
            .meshes()
            .iter()
            .find(|mesh| mesh.mesh_id == id)
            .cloned();
        let kept = kept.unwrap_or(entry);
        #[cfg(feature = "sqlite")]
        if let Some(dir) = kept.ensure_data_dir()? {
            use crate::store::{PeerOp, PeerStore, SqliteStore, StoredEntry};
            let mut store = SqliteStore::open(&dir.join("peer.db"))?;
            let entries = (0..).zip(log);
            let ops: Vec<PeerOp> = entries
                .map(|(seq, entry)| StoredEntry {
                    seq,
                    entry: entry.clone(),
                })
                .map(|stored| PeerOp::Log(Box::new(stored)))
                .collect();
            store.apply(&ops)?;
        }
        #[cfg(not(feature = "sqlite"))]
        let _ = log;
        Ok(kept)
    }

    /// The key for a join: kept before the broker hears of it, so that a crash in between does not
    /// use the invite up for a key that nobody has.
    /// Also says whether it was kept before.
    fn pending_key(&mut self, invite: &InviteId) -> Result<(Arc<KeyPair>, bool), JoinError> {
        let id = invite.to_hex();
        let fresh = KeyPair::from_seed(&Zeroizing::new(random::<32>()?));
        let text = fresh.expose_secret_hex();
        let key = self.update(|data| {
            let mut pending: Pending = data.extra.get(PENDING).unwrap_or_default();
            let kept = pending.entry(id).or_insert_with(|| text.to_string());
            let key = KeyPair::from_secret_hex(kept).ok();
            data.extra.set(PENDING, &pending);
            key
        })?;
        let key = key.unwrap_or_else(|| KeyPair::from_seed(&fresh.expose_seed()));
        let begun = key.public() != fresh.public();
        Ok((Arc::new(key), begun))
    }

    fn forget_pending(&mut self, invite: &InviteId) -> Result<(), JoinError> {
        let id = invite.to_hex();
        self.update(|data| {
            let mut pending: Pending = data.extra.get(PENDING).unwrap_or_default();
            pending.remove(&id);
            if pending.is_empty() {
                data.extra.remove(PENDING);
            } else {
                data.extra.set(PENDING, &pending);
            }
        })?;
        Ok(())
    }
}

fn fragment_of(link: &str) -> Result<Option<Fragment>, JoinError> {
    let (Link::Token(LinkParts { fragment, .. }) | Link::Code(LinkParts { fragment, .. })) =
        parse_link(link)?;
    Ok(fragment)
}

async fn open(link: &str, network: &Network) -> Result<Opened, JoinError> {
    let (text, fragment) = match parse_link(link)? {
        Link::Token(parts) => (parts.text, parts.fragment),
        Link::Code(parts) => (exchange_code(&parts, network).await?, parts.fragment),
    };
    let token = InviteToken::parse(&text)?;
    token.verify(unix_ms() / 1_000)?;
    let mesh = MeshId::new(&token.mesh_id)?;
    let broker: BrokerUrl = token.broker_url.parse()?;
    let issuer = token.issuer().ok_or(InviteError::Signature)?;
    Ok(Opened {
        text,
        token,
        mesh,
        broker,
        issuer,
        fragment,
    })
}

/// A short code is exchanged for its token at the host of its link.
async fn exchange_code(parts: &LinkParts, network: &Network) -> Result<String, JoinError> {
    let origin = parts.origin.as_deref().unwrap_or("https://claudemesh.com");
    let host: BrokerUrl = origin.parse()?;
    let path = format!("/api/public/invite-code/{}", parts.text);
    let answer = transport::call(&host, network, "GET", &path, &[], None).await?;
    let json = answer_json(&answer)?;
    let token = json.get("token").and_then(Value::as_str);
    token.map(str::to_owned).ok_or_else(|| JoinError::Refused {
        status: answer.status,
        code: "invite_not_found".to_owned(),
        message: "short invite code not found; ask for a new link".to_owned(),
    })
}

/// The link fits the log: the entry that its fragment names is there, has the fragment's key, was
/// signed by the token's issuer, gives the token's role, and is open.
fn check_link(log: &Log, opened: &Opened, fragment: &Fragment) -> Result<(), JoinError> {
    let invite = (log.roster().invite(&fragment.invite()))
        .ok_or(JoinError::DoesNotFit("the log has no such invite"))?;
    if invite.key != fragment.key().public() {
        return Err(JoinError::DoesNotFit("the invite has another key"));
    }
    if invite.issuer != opened.issuer {
        return Err(JoinError::DoesNotFit(
            "the invite was issued by someone else",
        ));
    }
    let is_admin = invite.role == Role::Admin;
    if is_admin != (opened.token.role == TokenRole::Admin) {
        return Err(JoinError::DoesNotFit("the invite gives another role"));
    }
    invite.check_open(unix_ms().max(log.at()))?;
    Ok(())
}

fn join_request(opened: &Opened, key: &PublicKey, name: &Name) -> Value {
    json!({
        "invite_token": opened.text,
        "invite_payload": opened.token,
        "peer_pubkey": key,
        "display_name": name,
    })
}

fn unix_ms() -> u64 {
    crate::peer::unix_ms()
}

/// Now as `YYYY-MM-DDTHH:MM:SS.mmmZ`.
fn now_iso() -> String {
    crate::time::iso(unix_ms())
}
