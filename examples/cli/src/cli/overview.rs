//! The arguments of `info`, `msg-status`, and `delete`.

use clap::Args;
use claudemesh_core::CreateToken;
use claudemesh_core::broker_url::BrokerUrl;

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

pub(super) const UPGRADE_HELP: &str = "\
For a mesh without a membership log: one of the existing system, or one that `broker-min import` took
over. Makes a new mesh with a log, owned by you, and sends each member whose key you trust (`claudemesh
trust`) a link of its own, sealed for that key. The old mesh stays and can be read. State, memory and
topics stay there.
Examples:
  claudemesh upgrade team --yes
  claudemesh upgrade team --to team-next --broker wss://broker.example/ws
JSON: mesh, mesh_id, from, recovery_key, invited (a list of name, pubkey, state, and where it could not
be sent error and link), not_trusted (how many were left out).";

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The mesh without a log, by its name or id
    pub(crate) of: String,
    /// The name of the new mesh; without it that of the old one with -2
    #[arg(long, value_name = "NAME")]
    pub(crate) to: Option<String>,
    /// The broker of the new mesh; without it that of the old one
    #[arg(
        long,
        value_name = "URL",
        env = "CLAUDEMESH_BROKER_URL",
        hide_env_values = true
    )]
    pub(crate) broker: Option<BrokerUrl>,
    /// The name by which others see you
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The token that the broker's operator gave you, if it asks for one
    #[arg(
        long,
        value_name = "TOKEN",
        env = "CLAUDEMESH_BROKER_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<CreateToken>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

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
