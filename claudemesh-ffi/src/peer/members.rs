//! Who is in the mesh, and trust.

use std::sync::Arc;
use std::time::Duration;

use claudemesh_core::InviteOptions;
use claudemesh_core::id::{InviteId, Name};
use claudemesh_core::membership;

use super::NativePeer;
use crate::error::NativeError;
use crate::receipt::NativeReceipt;
use crate::runtime::CancelToken;
use crate::types::{
    BrokerLie, InviteInfo, InviteLink, InviteTerms, MemberInfo, PeerPresence, Role, key,
};

#[uniffi::export]
impl NativePeer {
    /// The members, as the membership log that is held has them; with `former`, removed ones too.
    ///
    /// # Errors
    /// `internal`.
    pub fn members(&self, former: bool) -> Result<Vec<MemberInfo>, NativeError> {
        let all = if former {
            self.peer.members_and_former()
        } else {
            self.peer.members()
        };
        Ok(all.iter().map(MemberInfo::of).collect())
    }

    /// The devices of this person.
    ///
    /// # Errors
    /// `internal`.
    pub fn devices(&self) -> Result<Vec<MemberInfo>, NativeError> {
        Ok(self.peer.devices().iter().map(MemberInfo::of).collect())
    }

    /// All members, with what the broker says about their presence. Waits up to 5 s for the
    /// connection.
    ///
    /// # Errors
    /// `not_connected`, `timeout`.
    #[uniffi::method(default(cancel = None))]
    pub async fn peers(
        &self,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Vec<PeerPresence>, NativeError> {
        self.run(cancel, |peer| async move {
            let all = peer.peers().await?;
            Ok(all.into_iter().map(PeerPresence::of).collect())
        })
        .await
    }

    /// Fetches the newest membership log.
    ///
    /// # Errors
    /// `not_connected`, `timeout`, `mesh_invalid`.
    #[uniffi::method(default(cancel = None))]
    pub async fn sync(&self, cancel: Option<Arc<CancelToken>>) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move { Ok(peer.sync().await?) })
            .await
    }

    /// The key of who is called so: a name, a key, or an unambiguous beginning of a key.
    ///
    /// # Errors
    /// `unknown_recipient`, `ambiguous_recipient`; both texts list who could be meant.
    #[uniffi::method(default(cancel = None))]
    pub async fn resolve(
        &self,
        who: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<String, NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.resolve(&who).await?.to_hex())
        })
        .await
    }

    /// The safety number of this peer and another: six groups of five digits, the same on both
    /// sides. Two people compare them by another way, by voice for one.
    ///
    /// # Errors
    /// `invalid_argument` for what is no key.
    pub fn safety_number(&self, other: &str) -> Result<String, NativeError> {
        Ok(self.peer.safety_number(&key(other)?))
    }

    /// Makes an invite. For owners and admins; needs the broker.
    ///
    /// # Errors
    /// `not_allowed`, `not_connected`, `timeout`, `refused`.
    #[uniffi::method(default(cancel = None))]
    pub async fn invite(
        &self,
        terms: InviteTerms,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<InviteLink, NativeError> {
        self.run(cancel, |peer| async move {
            let defaults = InviteOptions::default();
            let options = InviteOptions {
                role: terms.role.map_or(defaults.role, membership::Role::from),
                uses: terms.uses.into(),
                expires_in: terms.expires_in.unwrap_or(defaults.expires_in),
            };
            Ok(InviteLink::of(&peer.invite(options).await?))
        })
        .await
    }

    /// Makes a link by which a further device of this person joins, once, within 10 minutes at
    /// most.
    ///
    /// # Errors
    /// As [`NativePeer::invite`].
    #[uniffi::method(default(cancel = None))]
    pub async fn link_device(
        &self,
        expires_in: Duration,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<InviteLink, NativeError> {
        self.run(cancel, |peer| async move {
            Ok(InviteLink::of(&peer.link_device(expires_in).await?))
        })
        .await
    }

    /// The invites of this mesh, as the log has them.
    ///
    /// # Errors
    /// `internal`.
    pub fn invites(&self) -> Result<Vec<InviteInfo>, NativeError> {
        Ok(self.peer.invites().iter().map(InviteInfo::of).collect())
    }

    /// Takes an invite back.
    ///
    /// # Errors
    /// `not_allowed`, `invite_closed`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn close_invite(
        &self,
        id: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.close_invite(InviteId::from_hex(&id)?).await?)
        })
        .await
    }

    /// Lets in a pending member. Compare safety numbers first.
    ///
    /// # Errors
    /// `not_allowed`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn admit(
        &self,
        member: String,
        name: String,
        role: Role,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer
                .admit(key(&member)?, Name::new(&name)?, role.into())
                .await?)
        })
        .await
    }

    /// Makes a member an admin, or an admin a member. For the owner.
    ///
    /// # Errors
    /// `not_allowed`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn set_role(
        &self,
        member: String,
        role: Role,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.set_role(key(&member)?, role.into()).await?)
        })
        .await
    }

    /// Removes a member and its devices, or one device, or this peer itself: final for their keys.
    /// `close_invites` closes every open invite too.
    ///
    /// # Errors
    /// `not_allowed`, `not_a_member`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn remove(
        &self,
        member: String,
        close_invites: bool,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(cancel, |peer| async move {
            Ok(peer.remove(key(&member)?, close_invites).await?)
        })
        .await
    }

    /// Offers the mesh to a verified member, who becomes its owner by
    /// [`NativePeer::accept_ownership`].
    ///
    /// # Errors
    /// `not_allowed`, `not_connected`.
    #[uniffi::method(default(cancel = None))]
    pub async fn transfer_owner(
        &self,
        member: String,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<Arc<NativeReceipt>, NativeError> {
        self.run(cancel, |peer| async move {
            Ok(NativeReceipt::new(
                peer.transfer_owner(key(&member)?).await?,
            ))
        })
        .await
    }

    /// Becomes the owner by the newest offer that the owner sent.
    ///
    /// # Errors
    /// `mesh_invalid` if there is no offer, `contention` if the mesh has changed since.
    #[uniffi::method(default(cancel = None))]
    pub async fn accept_ownership(
        &self,
        cancel: Option<Arc<CancelToken>>,
    ) -> Result<(), NativeError> {
        self.run(
            cancel,
            |peer| async move { Ok(peer.accept_ownership().await?) },
        )
        .await
    }

    /// What the broker of this mesh was caught at, oldest first, until it is dismissed.
    ///
    /// # Errors
    /// `closed`, `store_failed`.
    pub async fn lies(&self) -> Result<Vec<BrokerLie>, NativeError> {
        self.run(None, |peer| async move {
            Ok(peer.lies().await?.into_iter().map(BrokerLie::of).collect())
        })
        .await
    }

    /// Dismisses what the broker was caught at so far: a person knows why.
    ///
    /// # Errors
    /// `closed`, `store_failed`.
    pub async fn forget_lies(&self) -> Result<(), NativeError> {
        self.run(None, |peer| async move { Ok(peer.forget_lies().await?) })
            .await
    }
}
