//! A mesh for tests, and short words for what happens in it.

use claudemesh_core::crypto::KeyPair;
use claudemesh_core::id::{Hash, InviteId, MeshSlug, Name, PublicKey};
use claudemesh_core::membership::{Body, Draft, Log, LogError, Role, RuleError, SignedEntry};

pub(crate) const NOW: u64 = 1_800_000_000_000;
pub(crate) const DAY: u64 = 86_400_000;

pub(crate) fn pair(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32])
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn birth(recovery: Option<PublicKey>) -> Draft<'static> {
    Draft {
        mesh: None,
        seq: 0,
        prev: Hash::ZERO,
        at: NOW,
        body: Body::MeshCreated {
            slug: MeshSlug::new("team").unwrap(),
            salt: [9; 32],
            recovery,
            name: name("Olga"),
        },
    }
}

pub(crate) fn issue(key: u8, role: Role, expires_at: u64, max_uses: u64) -> Body {
    Body::InviteIssued {
        key: pair(key).public(),
        role,
        expires_at,
        max_uses,
    }
}

pub(crate) fn join(key: u8, invite: InviteId) -> Body {
    Body::MemberJoined {
        key: pair(key).public(),
        name: name("Somebody"),
        invite,
    }
}

pub(crate) fn remove(key: u8, close_all: bool) -> Body {
    Body::MemberRemoved {
        key: pair(key).public(),
        close_all,
    }
}

/// A mesh, its entries so far, and short words for what happens in it. Key pairs go by their seed
/// byte: the owner is 1, the recovery key 2, admins 10…, members 20…, invites 100….
#[derive(Clone)]
pub(crate) struct Mesh {
    pub(crate) log: Log,
    pub(crate) entries: Vec<SignedEntry>,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self::begin(&birth(Some(pair(2).public())))
    }

    pub(crate) fn without_recovery() -> Self {
        Self::begin(&birth(None))
    }

    fn begin(first: &Draft<'_>) -> Self {
        let first = first.sign(&pair(1), None);
        Self {
            log: Log::begin(&first).unwrap(),
            entries: vec![first],
        }
    }

    /// Owner 1, admin 10, member 20, pending 30; by invites 100, 101 and 102, which stay open.
    pub(crate) fn peopled() -> (Self, [InviteId; 3]) {
        let mut mesh = Self::new();
        let admins = mesh.invite(1, 100, Role::Admin);
        mesh.join(100, 10, admins).unwrap();
        let members = mesh.invite(1, 101, Role::Member);
        mesh.join(101, 20, members).unwrap();
        let pending = mesh.invite(10, 102, Role::Pending);
        mesh.join(102, 30, pending).unwrap();
        (mesh, [admins, members, pending])
    }

    pub(crate) fn take(&mut self, signed: SignedEntry) -> Result<Hash, LogError> {
        let (head, roster) = (self.log.head(), self.log.roster().clone());
        match self.log.append(&signed) {
            Ok(entry) => {
                assert_eq!(entry, signed.decode().unwrap());
                let hash = signed.hash();
                assert_eq!(self.log.head().hash, hash);
                self.entries.push(signed);
                Ok(hash)
            }
            Err(error) => {
                // Whatever is refused leaves no trace.
                assert_eq!(self.log.head(), head);
                assert_eq!(self.log.roster(), &roster);
                Err(error)
            }
        }
    }

    pub(crate) fn say_at(
        &mut self,
        at: u64,
        signer: u8,
        cosigner: Option<u8>,
        body: Body,
    ) -> Result<Hash, RuleError> {
        let cosigner = cosigner.map(pair);
        let draft = self.log.draft(at, body);
        let signed = draft.sign(&pair(signer), cosigner.as_ref());
        let next = self.entries.len() as u64;
        self.take(signed).map_err(|error| match error {
            LogError::Rule { seq, source } if seq == next => source,
            other => panic!("{other}"),
        })
    }

    pub(crate) fn say(&mut self, signer: u8, body: Body) -> Result<Hash, RuleError> {
        self.say_at(NOW, signer, None, body)
    }

    pub(crate) fn invite(&mut self, signer: u8, key: u8, role: Role) -> InviteId {
        self.say(signer, issue(key, role, NOW + DAY, 5)).unwrap()
    }

    pub(crate) fn join(
        &mut self,
        invite_key: u8,
        key: u8,
        invite: InviteId,
    ) -> Result<Hash, RuleError> {
        self.say_at(NOW, invite_key, Some(key), join(key, invite))
    }

    pub(crate) fn closed(&self, id: &InviteId) -> bool {
        self.log.roster().invite(id).unwrap().closed
    }

    pub(crate) fn role(&self, key: u8) -> Option<Role> {
        let member = self.log.roster().member(&pair(key).public());
        member.map(|member| member.role)
    }
}

/// The neutral element, a point of order 8, a non-canonical form, and bytes off the curve.
pub(crate) fn weak_keys() -> [PublicKey; 4] {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let order8 = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let mut wide = [0xff; 32];
    wide[31] = 0x7f;
    let mut off = [0; 32];
    off[0] = 2;
    [
        PublicKey(neutral),
        PublicKey::from_hex(order8).unwrap(),
        PublicKey(wide),
        PublicKey(off),
    ]
}
