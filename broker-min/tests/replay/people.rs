//! Who is in the recordings, with keys of our own in place of theirs.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use broker_min::testing::TestMesh;
use claudemesh_core::crypto::{KeyPair, verify};
use claudemesh_core::id::{PublicKey, Signature};
use claudemesh_core::identity::{attestation_bytes, hello_bytes, session_hello_bytes};
use serde_json::{Value, json};

use super::compare::Known;
use crate::support::{body, invite, join_legacy, now};

/// Members who made the mesh that they are in.
const OWNERS: [&str; 2] = ["73dc0e06", "e51029ad"];

pub(crate) struct People {
    /// Our key for each of theirs.
    keys: BTreeMap<String, KeyPair>,
    /// Members, with a name that they used.
    members: BTreeMap<String, String>,
    /// Their ids of members.
    ids: BTreeMap<String, String>,
    meshes: BTreeSet<String>,
    /// The mesh of each connection.
    of: BTreeMap<String, String>,
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The member's key in a hello of either form.
fn member_of(hello: &Value) -> &str {
    match hello["type"].as_str() {
        Some("session_hello") => text(hello, "parentMemberPubkey"),
        _ => text(hello, "pubkey"),
    }
}

/// Unix ms of `YYYY-MM-DDTHH:MM:SS.mmmZ` within its month, which is enough for differences.
pub(crate) fn millis(time: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<i64>().ok();
    let (day, hour) = (number(8..10)?, number(11..13)?);
    let (minute, second) = (number(14..16)?, number(17..19)?);
    Some((((day * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + number(20..23)?)
}

impl People {
    pub(crate) fn of(recordings: &[(String, Vec<Value>)]) -> Self {
        let (mut keys, mut members) = (BTreeMap::new(), BTreeMap::new());
        let (mut meshes, mut hellos) = (BTreeSet::new(), BTreeMap::new());
        let (mut strangers, mut ids) = (BTreeSet::new(), BTreeMap::new());
        let (mut of, mut names) = (BTreeMap::new(), BTreeMap::new());
        let records = recordings.iter().flat_map(|(_, records)| records);
        for record in records.filter(|record| record["proto"] == "ws") {
            let frame = &record["frame"];
            let conn = text(record, "conn");
            match frame["type"].as_str() {
                Some("hello" | "session_hello") if record["dir"] == "c2s" => {
                    for key in [member_of(frame), text(frame, "sessionPubkey")] {
                        let next = u8::try_from(keys.len() + 1).unwrap();
                        if is_key(key) {
                            keys.entry(key.to_owned())
                                .or_insert_with(|| KeyPair::from_seed(&[next; 32]));
                        }
                    }
                    let id = match text(frame, "memberId") {
                        "" => text(frame, "parentMemberId"),
                        id => id,
                    };
                    ids.entry(member_of(frame).to_owned())
                        .or_insert_with(|| id.to_owned());
                    of.insert(conn.to_owned(), text(frame, "meshId").to_owned());
                    hellos.insert(conn, frame);
                }
                Some(_) if record["dir"] == "s2c" => {
                    let hello = hellos.get(conn).filter(|_| frame["code"] == "unauthorized");
                    strangers.extend(hello.map(|hello| member_of(hello).to_owned()));
                    if let Some(hello) = hellos.get(conn)
                        && hello["displayName"].is_null()
                        && frame["type"] == "hello_ack"
                    {
                        let name = text(frame, "memberDisplayName").to_owned();
                        names.insert(member_of(hello).to_owned(), name);
                    }
                }
                _ => {}
            }
        }
        for hello in hellos.values() {
            let key = member_of(hello);
            if is_key(key) && !strangers.contains(key) {
                let name = names.get(key).cloned();
                let name = name.unwrap_or_else(|| text(hello, "displayName").to_owned());
                members.insert(key.to_owned(), name);
                meshes.insert(text(hello, "meshId").to_owned());
            }
        }
        Self {
            keys,
            members,
            ids,
            meshes,
            of,
        }
    }

    fn owner(&self, key: &str) -> bool {
        OWNERS.iter().any(|owner| key.starts_with(owner))
    }

    fn key<'a>(&'a self, mesh: &'a TestMesh, theirs: &str) -> &'a KeyPair {
        if self.owner(theirs) {
            return mesh.owner();
        }
        &self.keys[theirs]
    }

    /// Lets all members into a mesh, as existing clients come in; gives what stands for their keys
    /// and ids.
    pub(crate) async fn join(&self, mesh: &TestMesh) -> Known {
        let mut known = Known::default();
        for theirs in self.keys.keys() {
            known.learn(theirs, &self.public(mesh, theirs));
        }
        for id in &self.meshes {
            known.learn(id, mesh.id().as_str());
        }
        let link = invite(mesh, 100, 3_600_000).await;
        for (theirs, name) in &self.members {
            let key = self.key(mesh, theirs);
            let answer = join_legacy(mesh, &link.token, key, name).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            known.learn(&self.ids[theirs], text(&body(&answer), "memberId"));
        }
        // Nothing is left of who made the invite.
        mesh.advance(Duration::from_secs(100));
        tokio::time::sleep(Duration::from_millis(50)).await;
        known
    }

    /// The mesh that a recording is of, if it is of connections.
    pub(crate) fn mesh_of(&self, records: &[Value]) -> Option<String> {
        let mut all = records.iter().map(|record| text(record, "conn"));
        all.find_map(|conn| self.of.get(conn)).cloned()
    }

    /// By how much the clock in a hello was off, ms.
    pub(crate) fn skew(&self, record: &Value) -> i64 {
        let stamp = record["frame"]["timestamp"].as_i64().unwrap_or_default();
        let at = millis(text(record, "ts")).unwrap_or_default();
        // Both are of one month: what is left of the month is the same for all recordings.
        let month = 1_795_414_968_984 - millis("2026-11-23T06:22:48.984Z").unwrap();
        let skew = stamp - month - at;
        if skew.abs() < 5_000 { 0 } else { skew }
    }

    /// A hello as it was said, by our keys: signed anew where its signature was good, and wrong
    /// where it was wrong.
    pub(crate) fn hello(&self, mesh: &TestMesh, known: &Known, theirs: &Value, skew: i64) -> Value {
        let at = u64::try_from(i64::try_from(now(mesh)).unwrap() + skew).unwrap();
        let mut hello = theirs.clone();
        for field in ["memberId", "parentMemberId"] {
            if theirs[field].is_string() {
                hello[field] = known.translate(&theirs[field]);
            }
        }
        hello["timestamp"] = at.into();
        let known_mesh = self.meshes.contains(text(theirs, "meshId"));
        if known_mesh {
            hello["meshId"] = mesh.id().as_str().into();
        }
        for field in ["pubkey", "parentMemberPubkey", "sessionPubkey"] {
            if is_key(text(theirs, field)) {
                hello[field] = self.public(mesh, text(theirs, field)).into();
            }
        }
        let stamp = theirs["timestamp"].as_u64().unwrap_or_default();
        let signed = |of: &Value, stamp| match of["type"].as_str() {
            Some("session_hello") => session_hello_bytes(
                text(of, "meshId"),
                text(of, "parentMemberPubkey"),
                text(of, "sessionPubkey"),
                stamp,
            ),
            _ => hello_bytes(
                text(of, "meshId"),
                text(of, "memberId"),
                text(of, "pubkey"),
                stamp,
            ),
        };
        let signer = match theirs["type"].as_str() {
            Some("session_hello") => text(theirs, "sessionPubkey"),
            _ => text(theirs, "pubkey"),
        };
        let bytes = signed(&hello, at);
        self.sign(
            mesh,
            &mut hello,
            theirs,
            signer,
            (&signed(theirs, stamp), &bytes),
        );
        if theirs["parentAttestation"].is_object() {
            hello["parentAttestation"] =
                self.attestation(mesh, &theirs["parentAttestation"], at, stamp);
        }
        hello
    }

    fn public(&self, mesh: &TestMesh, theirs: &str) -> String {
        self.key(mesh, theirs).public().to_hex()
    }

    fn attestation(&self, mesh: &TestMesh, theirs: &Value, at: u64, stamp: u64) -> Value {
        let ends = theirs["expiresAt"].as_u64().unwrap_or_default();
        let expires = (at + ends).saturating_sub(stamp);
        let mut ours = theirs.clone();
        ours["expiresAt"] = expires.into();
        for field in ["parentMemberPubkey", "sessionPubkey"] {
            if is_key(text(theirs, field)) && self.keys.contains_key(text(theirs, field)) {
                ours[field] = self.public(mesh, text(theirs, field)).into();
            }
        }
        let signed = |of: &Value, expires| {
            attestation_bytes(
                text(of, "parentMemberPubkey"),
                text(of, "sessionPubkey"),
                expires,
            )
        };
        let bytes = signed(&ours, expires);
        let signer = text(theirs, "parentMemberPubkey");
        self.sign(
            mesh,
            &mut ours,
            theirs,
            signer,
            (&signed(theirs, ends), &bytes),
        );
        ours
    }

    /// Puts a good signature where theirs was good; leaves it as it was where it was not.
    fn sign(
        &self,
        mesh: &TestMesh,
        ours: &mut Value,
        theirs: &Value,
        signer: &str,
        (was, is): (&str, &str),
    ) {
        let good = PublicKey::from_hex(signer).is_ok_and(|key| {
            let signature: Result<Signature, _> =
                serde_json::from_value(json!(text(theirs, "signature")));
            signature.is_ok_and(|it| verify(&key, was.as_bytes(), &it))
        });
        if good {
            let signature = self.key(mesh, signer).sign(is.as_bytes());
            ours["signature"] = json!(signature);
        }
    }
}
