//! Somebody who has the broker's files, all frames that ever passed it, and one member's keys and
//! store: it tries every key that it can get on everything that could be sealed.
//!
//! It shares no code with how peers read: it looks for bytes of the right lengths wherever they
//! stand, whatever they are called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use claudemesh_core::channel::{KeyStatement, Root, SignedKeyStatement};
use claudemesh_core::crypto::{DirectKey, KeyPair, SecretKey, X25519Secret};
use claudemesh_core::encoding::{unbase64, unbase64url, unhex};
use claudemesh_core::id::{KeyId, PublicKey, Signature};
use serde_json::Value;

/// Bytes of a copy of a root, and of a record with the member's key before it.
const COPY: usize = 48;
const RECORD: usize = 80;
const NONCE: usize = 24;
/// Mark and key id before what is sealed under a channel's key.
const HEADER: usize = 18;

/// All bytes that were found.
#[derive(Default, Clone)]
pub(crate) struct Pool {
    bytes: BTreeSet<Vec<u8>>,
    /// What stood beside each other as nonce and ciphertext.
    pairs: BTreeSet<(Vec<u8>, Vec<u8>)>,
}

impl Pool {
    pub(crate) fn json(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter().for_each(|item| self.json(item)),
            Value::Object(fields) => {
                let part = |name: &str| unbase64(fields.get(name)?.as_str()?).ok();
                if let (Some(nonce), Some(sealed)) = (part("nonce"), part("ciphertext")) {
                    self.pairs.insert((nonce, sealed));
                }
                fields.values().for_each(|field| self.json(field));
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        // Frames stand whole, and without their beginning.
        for text in [text.to_owned(), format!("{{\"x\":0{text}")] {
            if let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(&text) {
                self.json(&value);
            }
        }
        let text = text.strip_prefix("$sealed:").unwrap_or(text);
        let decoded = [
            unbase64(text).ok(),
            unbase64url(text).ok(),
            unhex(text).ok(),
        ];
        self.bytes.extend(decoded.into_iter().flatten());
    }

    /// Every column of every row of every table.
    pub(crate) fn database(&mut self, file: &Path) {
        let conn = rusqlite::Connection::open(file).unwrap();
        let mut names = conn
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
            .unwrap();
        let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
        for table in names.map(Result::unwrap) {
            let mut all = conn.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
            let columns = all.column_count();
            let mut rows = all.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                for column in 0..columns {
                    match row.get::<_, rusqlite::types::Value>(column).unwrap() {
                        rusqlite::types::Value::Text(text) => self.text(&text),
                        rusqlite::types::Value::Blob(bytes) => {
                            self.bytes.insert(bytes);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn of_length(&self, length: usize) -> impl Iterator<Item = &Vec<u8>> {
        self.bytes.iter().filter(move |bytes| bytes.len() == length)
    }

    /// Whatever could be a copy of a root.
    fn copies(&self) -> BTreeSet<Vec<u8>> {
        let mut copies: BTreeSet<Vec<u8>> = self.of_length(COPY).cloned().collect();
        for bytes in &self.bytes {
            if bytes.len().is_multiple_of(RECORD) {
                copies.extend(bytes.chunks(RECORD).map(|record| record[32..].to_vec()));
            }
        }
        copies
    }
}

/// What opens with one member's secrets, and the pool's: plain texts.
pub(crate) fn open(pool: &Pool, pair: &KeyPair, publics: &[PublicKey]) -> Vec<Vec<u8>> {
    let roots = roots(pool, pair);
    let mut secrets: Vec<SecretKey> = Vec::new();
    for (id, root) in &roots {
        secrets.push(root.message_key(id));
        secrets.push(SecretKey::new(*root.expose()));
    }
    let secret = X25519Secret::of(pair);
    let agree = |key: &PublicKey| DirectKey::agree(&secret, key).ok();
    let direct: Vec<DirectKey> = publics.iter().filter_map(agree).collect();
    let mut opened = Vec::new();
    let mut attempt = |nonce: &[u8], sealed: &[u8]| {
        let Ok(nonce) = <[u8; NONCE]>::try_from(nonce) else {
            return;
        };
        opened.extend(
            direct
                .iter()
                .filter_map(|key| key.open(&nonce, sealed).ok()),
        );
        opened.extend(
            secrets
                .iter()
                .filter_map(|key| key.open(&nonce, sealed).ok()),
        );
    };
    for (nonce, sealed) in &pool.pairs {
        attempt(nonce, sealed);
        attempt(nonce, sealed.get(HEADER..).unwrap_or_default());
    }
    for bytes in &pool.bytes {
        for at in [0, HEADER] {
            if let Some((nonce, sealed)) = bytes.get(at..).and_then(|b| b.split_at_checked(NONCE)) {
                attempt(nonce, sealed);
            }
        }
    }
    opened
}

/// Every root that can be had: kept in a store, by a copy, by a link.
fn roots(pool: &Pool, pair: &KeyPair) -> BTreeMap<KeyId, Root> {
    let statements: BTreeMap<KeyId, KeyStatement> = (pool.bytes.iter())
        .filter_map(|bytes| {
            let statement = KeyStatement::parse(bytes).ok()?;
            let signature = Signature([0; 64]);
            let bytes = bytes.clone();
            Some((SignedKeyStatement { bytes, signature }.key_id(), statement))
        })
        .collect();
    let mut roots = BTreeMap::new();
    for (id, statement) in &statements {
        for bytes in pool.of_length(32) {
            let root = Root::new(bytes.as_slice().try_into().unwrap());
            if root.commitment() == statement.commitment {
                roots.insert(*id, root);
            }
        }
        for copy in pool.copies() {
            if !roots.contains_key(id)
                && let Ok(root) = statement.open_copy(id, pair, &copy)
            {
                roots.insert(*id, root);
            }
        }
    }
    loop {
        let mut found = Vec::new();
        for (id, root) in &roots {
            for (other, previous) in &statements {
                if !roots.contains_key(other)
                    && let Ok(root) = statements[id].follow_link(root, previous)
                {
                    found.push((*other, root));
                }
            }
        }
        if found.is_empty() {
            return roots;
        }
        roots.extend(found);
    }
}
