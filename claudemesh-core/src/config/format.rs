//! Format version 1 of `config.json`, to and from bytes.
//!
//! Fields are taken out of plain JSON one by one rather than by a derived `Deserialize`: the texts
//! of serde's errors quote what they met, and here that could be a secret key.

use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::error::Category;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::data::is_slug;
use super::fields;
use super::{ConfigData, ConfigError, MeshEntry, Place};
use crate::crypto::{KeyError, KeyPair};
use crate::id::{MemberId, MeshId, PublicKey};

/// The format that is read and written.
pub(super) const VERSION: u64 = 1;
/// More than any sound file; a bound on what a broken one can cost.
pub(super) const MAX_BYTES: usize = 16 * 1024 * 1024;

const TOP: [&str; 3] = ["version", "meshes", "displayName"];
const ENTRY: [&str; 13] = [
    "meshId",
    "memberId",
    "slug",
    "name",
    "pubkey",
    "secretKey",
    "brokerUrl",
    "joinedAt",
    "rootKey",
    "inviteVersion",
    "inviteId",
    "displayName",
    "log",
];
const SLUG_WHY: &str = "must be 1 to 128 bytes without control characters";

/// Reads a whole configuration.
pub(super) fn parse(bytes: &[u8], at: &Place) -> Result<ConfigData, ConfigError> {
    if bytes.len() > MAX_BYTES {
        return Err(too_large(at));
    }
    let value = serde_json::from_slice(bytes).map_err(|error| not_json(&error, at))?;
    let mut top = Fields {
        map: Map::new(),
        entry: "the file".to_owned(),
        at,
    };
    let Value::Object(map) = value else {
        return Err(top.bad("meshes", "is missing: a JSON object is needed"));
    };
    top.map = map;
    match top.map.remove("version") {
        // The other programs never look at the version, so a file made by hand may lack it.
        None => {}
        Some(version) => match version.as_u64() {
            Some(VERSION) => {}
            Some(found) if found > VERSION => {
                return Err(ConfigError::NewerVersion {
                    at: at.clone(),
                    found,
                    supported: VERSION,
                });
            }
            _ => return Err(top.bad("version", "must be the number 1")),
        },
    }
    let Some(Value::Array(entries)) = top.map.remove("meshes") else {
        return Err(top.bad("meshes", "must be an array"));
    };
    let meshes = entries
        .into_iter()
        .enumerate()
        .map(|(index, entry)| parse_entry(index, entry, at))
        .collect::<Result<_, _>>()?;
    Ok(ConfigData {
        meshes,
        display_name: top.optional_text("displayName")?,
        extra: fields::Fields(top.map),
    })
}

fn parse_entry(index: usize, value: Value, at: &Place) -> Result<MeshEntry, ConfigError> {
    let mut fields = Fields {
        map: Map::new(),
        entry: format!("entry {}", index + 1),
        at,
    };
    let Value::Object(map) = value else {
        return Err(fields.bad("meshes", "must be a JSON object"));
    };
    fields.map = map;
    let secret = match fields.map.remove("secretKey") {
        Some(Value::String(text)) => Some(Zeroizing::new(text)),
        _ => None,
    };
    let slug = fields.text("slug")?;
    if !is_slug(&slug) {
        return Err(fields.bad("slug", SLUG_WHY));
    }
    fields.entry = format!("mesh {slug:?}");

    let pubkey = fields.typed("pubkey", "must be 64 hex digits", |t| {
        PublicKey::from_hex(t).ok()
    })?;
    const SECRET_WHY: &str = "must be 128 hex digits";
    let secret = secret.ok_or_else(|| fields.bad("secretKey", SECRET_WHY))?;
    let mismatch = || ConfigError::KeyMismatch {
        at: at.clone(),
        mesh: slug.clone(),
    };
    let key = match KeyPair::from_secret_hex(&secret) {
        Ok(key) if key.public() == pubkey => Arc::new(key),
        Ok(_) | Err(KeyError::Mismatch) => return Err(mismatch()),
        Err(_) => return Err(fields.bad("secretKey", SECRET_WHY)),
    };
    const ID_WHY: &str = "must be 1 to 64 letters, digits, '_' or '-'";
    let mesh_id = fields.typed("meshId", ID_WHY, |t| MeshId::new(t).ok())?;
    let member_id = fields.typed("memberId", ID_WHY, |t| MemberId::new(t).ok())?;
    let broker_url = fields.text("brokerUrl")?;
    let joined_at = fields.text("joinedAt")?;
    let mut entry = MeshEntry::new(mesh_id, member_id, slug, key, broker_url, joined_at);
    entry.name = fields.text("name")?;
    entry.root_key = fields.optional_text("rootKey")?;
    entry.invite_version = fields.optional("inviteVersion", "must be a number", Value::as_u64)?;
    entry.invite_id = fields.optional_text("inviteId")?;
    entry.display_name = fields.optional_text("displayName")?;
    entry.log = fields.optional("log", "must be true or false", Value::as_bool)?;
    entry.extra = fields::Fields(fields.map);
    Ok(entry)
}

/// The fields of one object that nobody has taken yet; what stays is unknown and kept.
struct Fields<'a> {
    map: Map<String, Value>,
    entry: String,
    at: &'a Place,
}

impl Fields<'_> {
    fn bad(&self, field: &'static str, why: &'static str) -> ConfigError {
        ConfigError::Malformed {
            at: self.at.clone(),
            entry: self.entry.clone(),
            field,
            why,
        }
    }

    fn text(&mut self, field: &'static str) -> Result<String, ConfigError> {
        self.optional_text(field)?
            .ok_or_else(|| self.bad(field, "is missing"))
    }

    fn optional_text(&mut self, field: &'static str) -> Result<Option<String>, ConfigError> {
        match self.map.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.bad(field, "must be a text")),
        }
    }

    fn optional<T>(
        &mut self,
        field: &'static str,
        why: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        match self.map.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(&value) {
                Some(value) => Ok(Some(value)),
                None => Err(self.bad(field, why)),
            },
        }
    }

    fn typed<T>(
        &mut self,
        field: &'static str,
        why: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let text = self.text(field)?;
        read(&text).ok_or_else(|| self.bad(field, why))
    }
}

fn not_json(error: &serde_json::Error, at: &Place) -> ConfigError {
    let text = error.to_string();
    let why = match error.classify() {
        // These texts are fixed; those of the other kinds may quote the file.
        Category::Syntax | Category::Eof => text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(why, _)| why),
        Category::Data | Category::Io => "unexpected data",
    };
    ConfigError::Parse {
        at: at.clone(),
        line: error.line(),
        column: error.column(),
        why: why.to_owned(),
    }
}

fn too_large(at: &Place) -> ConfigError {
    ConfigError::TooLarge {
        at: at.clone(),
        limit: MAX_BYTES,
    }
}

/// Writes a whole configuration: two spaces of indentation and a line end, as the other programs
/// do. Refuses what [`parse`] would not read again.
pub(super) fn write(data: &ConfigData, at: &Place) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    for (index, entry) in data.meshes.iter().enumerate() {
        if !is_slug(&entry.slug) {
            return Err(ConfigError::Malformed {
                at: at.clone(),
                entry: format!("entry {}", index + 1),
                field: "slug",
                why: SLUG_WHY,
            });
        }
    }
    // Room enough for common files at once: a buffer that grows leaves copies of keys behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(8192 + 4096 * data.meshes.len()));
    serde_json::to_writer_pretty(&mut *bytes, &TopOut(data)).map_err(|error| {
        ConfigError::Write {
            path: match at {
                Place::File(path) => path.clone(),
                Place::Memory => "config.json".into(),
            },
            source: error.into(),
        }
    })?;
    bytes.push(b'\n');
    if bytes.len() > MAX_BYTES {
        return Err(too_large(at));
    }
    Ok(bytes)
}

struct TopOut<'a>(&'a ConfigData);

impl Serialize for TopOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self(data) = self;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("version", &VERSION)?;
        map.serialize_entry("meshes", &MeshesOut(&data.meshes))?;
        optional(&mut map, "displayName", data.display_name.as_ref())?;
        unknown(&mut map, &data.extra.0, &TOP)?;
        map.end()
    }
}

struct MeshesOut<'a>(&'a [MeshEntry]);

impl Serialize for MeshesOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().map(EntryOut))
    }
}

struct EntryOut<'a>(&'a MeshEntry);

impl Serialize for EntryOut<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self(entry) = self;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("meshId", &entry.mesh_id)?;
        map.serialize_entry("memberId", &entry.member_id)?;
        map.serialize_entry("slug", &entry.slug)?;
        map.serialize_entry("name", &entry.name)?;
        map.serialize_entry("pubkey", &entry.pubkey())?;
        map.serialize_entry("secretKey", &*entry.key_pair().expose_secret_hex())?;
        map.serialize_entry("brokerUrl", &entry.broker_url)?;
        map.serialize_entry("joinedAt", &entry.joined_at)?;
        optional(&mut map, "rootKey", entry.root_key.as_ref())?;
        optional(&mut map, "inviteVersion", entry.invite_version.as_ref())?;
        optional(&mut map, "inviteId", entry.invite_id.as_ref())?;
        optional(&mut map, "displayName", entry.display_name.as_ref())?;
        optional(&mut map, "log", entry.log.as_ref())?;
        unknown(&mut map, &entry.extra.0, &ENTRY)?;
        map.end()
    }
}

fn optional<M: SerializeMap>(
    map: &mut M,
    name: &str,
    value: Option<&impl Serialize>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, value))
}

/// Writes unknown fields, but none that would stand in the file twice.
fn unknown<M: SerializeMap>(
    map: &mut M,
    extra: &Map<String, Value>,
    known: &[&str],
) -> Result<(), M::Error> {
    extra
        .iter()
        .filter(|(name, _)| !known.contains(&name.as_str()))
        .try_for_each(|(name, value)| map.serialize_entry(name, value))
}
