//! The arguments of `info`, `msg-status`, and `delete`.

use clap::Args;

pub(super) const INFO_HELP: &str = "\
Without the broker it has what is known here; then online, state_keys and memories are null.
JSON: mesh, mesh_id, broker, connected, display_name, pubkey, role, owner, log_entries (null in a mesh
without a membership log), members, online, channels (a list), open_invites, state_keys, memories,
unread, queued, backed_up_at.";

pub(super) const MSG_STATUS_HELP: &str = "\
States: queued (here still), accepted (the broker has it), delivered (they have it), failed. What was
sent to somebody with devices, or to sessions, has a line for each. Messages are known for 31 days.
JSON: message_id, state (the least of all), created_at, expires_at, recipients (a list of to, state,
reason).";

pub(super) const DELETE_HELP: &str = "\
For its owner: closes every link, removes everybody else for good, and deletes keys and messages of
the mesh from this machine. What the broker keeps of it is ciphertext that nobody opens any more; its
operator deletes that with `broker-min mesh delete`. In a mesh without a membership log only this
machine forgets it. Who does not own a mesh leaves it: `claudemesh leave --purge`.
JSON: mesh, mesh_id, removed (names), closed_invites.";

#[derive(Debug, Args)]
pub(crate) struct MsgStatus {
    /// The message's id, or its first characters
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The mesh, by its name or id
    pub(crate) of: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}
