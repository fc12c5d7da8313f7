//! The contents of a configuration: the meshes of this machine, and what goes with them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fields::Fields;
use super::{ConfigError, disk};
use crate::crypto::KeyPair;
use crate::id::{MemberId, MeshId, PublicKey};

/// The longest short name of a mesh that is read from a file.
pub(super) const SLUG_MAX: usize = 128;
/// The field of an entry that names its file of certificate authorities. It is among the unknown
/// ones for older programs, which keep it.
const CA_FILE: &str = "claudemeshCaFile";
/// The field of an entry that says when a backup of its key was made, among the unknown ones for
/// the same reason: of those in entries none is lost.
const BACKED_UP: &str = "claudemeshBackedUpAt";
/// The longest [`crate::id::MeshSlug`].
const STRICT_SLUG_MAX: usize = 64;

/// One mesh that this machine has joined, and the identity it has there.
#[derive(Clone)]
pub struct MeshEntry {
    /// The mesh.
    pub mesh_id: MeshId,
    /// Under what id the broker files this member.
    pub member_id: MemberId,
    /// The short name of the mesh on this machine: not empty, at most 128 bytes, no control
    /// characters. Not a [`crate::id::MeshSlug`], since older programs stored whatever the invite
    /// said; never build a path from it.
    pub slug: String,
    /// The name of the mesh for people.
    pub name: String,
    key: Arc<KeyPair>,
    /// Where the broker listens, as `ws://` or `wss://`; checked when a peer is made.
    pub broker_url: String,
    /// When this machine joined, as ISO 8601 in UTC; not read by this library.
    pub joined_at: String,
    /// The mesh root key of invites of version 2: 32 bytes in unpadded base64url. Secret.
    pub root_key: Option<String>,
    /// By which kind of invite it was joined, where that is known.
    pub invite_version: Option<u64>,
    /// The invite that this entry came by, in hex: a second join by the same link finds it.
    pub invite_id: Option<String>,
    /// The name that this machine shows in this mesh, instead of the general one.
    pub display_name: Option<String>,
    /// `true` if the mesh was joined with a membership log; such an entry never does without.
    pub log: Option<bool>,
    /// Fields of other programs, kept as they are.
    pub extra: Fields,
    /// Where this member's messages are kept; set by the configuration that holds the entry.
    pub(super) data_dir: Option<PathBuf>,
    /// Where keys of sessions are kept; set as the above.
    pub(super) sessions_dir: Option<PathBuf>,
}

impl MeshEntry {
    /// An entry with what every entry has; its name is its slug until another one is set.
    pub fn new(
        mesh_id: MeshId,
        member_id: MemberId,
        slug: impl Into<String>,
        key: Arc<KeyPair>,
        broker_url: impl Into<String>,
        joined_at: impl Into<String>,
    ) -> Self {
        let slug = slug.into();
        Self {
            mesh_id,
            member_id,
            name: slug.clone(),
            slug,
            key,
            broker_url: broker_url.into(),
            joined_at: joined_at.into(),
            root_key: None,
            invite_version: None,
            invite_id: None,
            display_name: None,
            log: None,
            extra: Fields::default(),
            data_dir: None,
            sessions_dir: None,
        }
    }

    /// The key pair of this member. The public half cannot differ from [`Self::pubkey`].
    pub const fn key_pair(&self) -> &Arc<KeyPair> {
        &self.key
    }

    /// Where this member's messages are kept; none if the configuration is kept in memory. It need
    /// not be there yet.
    pub fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    /// The folder beside the configuration's file in which the keys of sessions are kept, one folder
    /// for each mesh; none if the configuration is kept in memory.
    pub fn sessions_dir(&self) -> Option<&Path> {
        self.sessions_dir.as_deref()
    }

    /// As [`MeshEntry::data_dir`], and makes the directory, for its owner only.
    ///
    /// # Errors
    /// [`ConfigError::Write`].
    pub fn ensure_data_dir(&self) -> Result<Option<PathBuf>, ConfigError> {
        if let Some(dir) = &self.data_dir {
            disk::make_private_dir(dir)?;
        }
        Ok(self.data_dir.clone())
    }

    /// The PEM file of the certificate authorities that are believed for this mesh's broker, if
    /// it has one of its own.
    pub fn ca_file(&self) -> Option<PathBuf> {
        let file: String = self.extra.get(CA_FILE)?;
        Some(PathBuf::from(file))
    }

    /// Sets or clears [`MeshEntry::ca_file`]. A path that is no UTF-8 is not kept.
    pub fn set_ca_file(&mut self, file: Option<&Path>) {
        match file.and_then(Path::to_str) {
            Some(file) => {
                self.extra.set(CA_FILE, file);
            }
            None => {
                self.extra.remove(CA_FILE);
            }
        }
    }

    /// When a backup that has this entry's key was made last, as ISO 8601 in UTC.
    pub fn backed_up_at(&self) -> Option<String> {
        self.extra.get(BACKED_UP)
    }

    /// Notes that a backup was made.
    pub(super) fn set_backed_up_at(&mut self, at: &str) {
        self.extra.set(BACKED_UP, at);
    }

    /// Who this machine is in the mesh.
    pub fn pubkey(&self) -> PublicKey {
        self.key.public()
    }
}

impl fmt::Debug for MeshEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither keys nor values of unknown fields, which may be keys too.
        f.debug_struct("MeshEntry")
            .field("mesh_id", &self.mesh_id)
            .field("member_id", &self.member_id)
            .field("slug", &self.slug)
            .field("pubkey", &self.pubkey())
            .field("broker_url", &self.broker_url)
            .field("log", &self.log)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

/// What `config.json` holds; changed in [`super::Config::update`].
#[derive(Clone, Default)]
pub struct ConfigData {
    /// The meshes, in the order in which they were joined.
    pub meshes: Vec<MeshEntry>,
    /// The name that this machine shows where a mesh has no other.
    pub display_name: Option<String>,
    /// Fields of other programs (`role`, `groups`, `messageMode`, …), kept as they are.
    pub extra: Fields,
}

impl fmt::Debug for ConfigData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigData")
            .field("meshes", &self.meshes)
            .field("display_name", &self.display_name)
            .field("extra", &self.extra)
            .finish()
    }
}

impl ConfigData {
    /// The mesh of this short name, or else of this id.
    ///
    /// Names go first: a mesh id comes with an invite, so an id made to look like the name of
    /// another mesh must not take that name over.
    pub fn mesh(&self, slug_or_id: &str) -> Option<&MeshEntry> {
        self.position(slug_or_id).and_then(|at| self.meshes.get(at))
    }

    /// Adds an entry, or replaces the one of the same mesh; says under which short name.
    ///
    /// Another mesh that has the wanted name keeps it, and the new entry gets `-2`, `-3`, … at its
    /// end. A mesh that is joined again under the same key keeps its unknown fields.
    pub fn put_mesh(&mut self, mut entry: MeshEntry) -> String {
        let same_mesh = |other: &MeshEntry| other.mesh_id == entry.mesh_id;
        let at = self
            .meshes
            .iter()
            .position(|m| same_mesh(m) && m.pubkey() == entry.pubkey())
            .or_else(|| self.meshes.iter().position(same_mesh));
        let old = at.and_then(|at| self.meshes.get(at));
        let is_taken = |slug: &str| {
            self.meshes.iter().enumerate().any(|(i, other)| {
                Some(i) != at
                    && (other.slug == slug
                        || (other.mesh_id.as_str() == slug && other.mesh_id != entry.mesh_id))
            })
        };
        if is_taken(&entry.slug) {
            entry.slug = match old {
                Some(old) if !is_taken(&old.slug) => old.slug.clone(),
                _ => numbered(&entry.slug, is_taken),
            };
        }
        if let Some(old) = old
            && old.pubkey() == entry.pubkey()
        {
            for (name, value) in &old.extra.0 {
                if !entry.extra.0.contains_key(name) {
                    entry.extra.0.insert(name.clone(), value.clone());
                }
            }
        }
        let slug = entry.slug.clone();
        match at.and_then(|at| self.meshes.get_mut(at)) {
            Some(place) => *place = entry,
            None => self.meshes.push(entry),
        }
        slug
    }

    /// Takes the mesh of this short name, or else of this id, out.
    pub fn remove_mesh(&mut self, slug_or_id: &str) -> Option<MeshEntry> {
        let at = self.position(slug_or_id)?;
        Some(self.meshes.remove(at))
    }

    fn position(&self, slug_or_id: &str) -> Option<usize> {
        let by_slug = self.meshes.iter().position(|m| m.slug == slug_or_id);
        by_slug.or_else(|| {
            self.meshes
                .iter()
                .position(|m| m.mesh_id.as_str() == slug_or_id)
        })
    }
}

/// Whether a short name may stand in a file.
pub(super) fn is_slug(text: &str) -> bool {
    (1..=SLUG_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

/// The first of `slug-2`, `slug-3`, … that is free, shortened so that a valid name stays valid.
fn numbered(slug: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let limit = if slug.len() <= STRICT_SLUG_MAX {
        STRICT_SLUG_MAX
    } else {
        SLUG_MAX
    };
    let mut number = 2u64;
    loop {
        let end = format!("-{number}");
        let mut base = slug;
        while base.len() + end.len() > limit {
            let last = base.char_indices().next_back().map_or(0, |(at, _)| at);
            base = &base[..last];
        }
        let candidate = format!("{base}{end}");
        if !is_taken(&candidate) {
            return candidate;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(mesh: &str, slug: &str, seed: u8) -> MeshEntry {
        MeshEntry::new(
            MeshId::new(mesh).unwrap(),
            MemberId::new("m").unwrap(),
            slug,
            Arc::new(KeyPair::from_seed(&[seed; 32])),
            "wss://broker.example/ws",
            "2026-01-01T00:00:00.000Z",
        )
    }

    #[test]
    fn a_taken_name_gets_a_number_and_stays_stable() {
        let mut data = ConfigData::default();
        assert_eq!(data.put_mesh(entry("a", "team", 1)), "team");
        assert_eq!(data.put_mesh(entry("b", "team", 2)), "team-2");
        assert_eq!(data.put_mesh(entry("c", "team", 3)), "team-3");
        data.remove_mesh("team-2").unwrap();
        assert_eq!(data.put_mesh(entry("c", "team", 3)), "team-3");
        assert_eq!(data.meshes.len(), 2);

        let long = "x".repeat(64);
        data.put_mesh(entry("d", &long, 4));
        assert_eq!(
            data.put_mesh(entry("e", &long, 5)),
            format!("{}-2", "x".repeat(62))
        );
        let wide = "é".repeat(64);
        data.put_mesh(entry("f", &wide, 6));
        assert_eq!(
            data.put_mesh(entry("g", &wide, 7)),
            format!("{}-2", "é".repeat(63))
        );
    }

    #[test]
    fn neither_a_name_nor_an_id_takes_over_another_mesh() {
        let mut data = ConfigData::default();
        data.put_mesh(entry("real-id", "work", 1));
        assert_eq!(data.put_mesh(entry("x", "real-id", 2)), "real-id-2");
        data.put_mesh(entry("work", "other", 3));
        assert_eq!(data.mesh("work").unwrap().mesh_id.as_str(), "real-id");
        assert_eq!(data.mesh("real-id").unwrap().slug, "work");
    }

    #[test]
    fn joining_again_keeps_unknown_fields_of_the_same_key_only() {
        let mut data = ConfigData::default();
        let mut first = entry("a", "team", 1);
        first.extra.set("theirs", &1);
        data.put_mesh(first);
        data.put_mesh(entry("a", "renamed", 1));
        assert_eq!(data.mesh("renamed").unwrap().extra.get("theirs"), Some(1));
        data.put_mesh(entry("a", "renamed", 2));
        assert!(data.mesh("renamed").unwrap().extra.is_empty());
        assert_eq!(data.meshes.len(), 1);
    }
}
