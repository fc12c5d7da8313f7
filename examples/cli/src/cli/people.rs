//! The arguments of what changes who is in a mesh.

use clap::{Args, Subcommand, ValueEnum};
use claudemesh_core::broker_url::BrokerUrl;
use claudemesh_core::id::MeshId;

pub(super) const MEMBERS_HELP: &str = "\
A device is shown as member/device. What is sent to a member goes to its devices too.
In a mesh without a membership log: the keys that are known, and whether you trust them.
JSON: a list of name, pubkey, role, verified, removed, device_of, trust (null where there is a log;
else pinned, trusted, changed or distrusted, and role is null).";

pub(super) const ADMIT_HELP: &str = "\
PEER is a name or the first digits (four or more) of a key; of who is offline, the whole key.
At a terminal the safety number is shown first: compare it with what they see.
JSON: name, pubkey, role, safety_number.";

pub(super) const REMOVE_HELP: &str = "\
Final for the key: who is to come back needs a new link. Every open link is closed, too, so that
nobody comes back by one that was handed on. Without a terminal say --yes.
JSON: name, pubkey, devices, closed_invites.";

pub(super) const DEVICE_HELP: &str = "\
A device has a key of its own. It reads what is sent to you from then on, and writes as you/device.
Examples:
  claudemesh device add --name phone --qr
  claudemesh device remove phone";

const RECOVER_HELP: &str = "\
For when the owner's key is lost, or in wrong hands: makes a new one. The owner before is out for
good, with all devices, and every open link is closed.
On a machine that does not know the mesh, say --mesh-id and --broker.
Example:
  claudemesh owner recover --key - < recovery-key.txt";

#[derive(Debug, Args)]
pub(crate) struct Members {
    /// Show who was removed, too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MemberRole {
    /// Talks
    Member,
    /// May also invite and remove members
    Admin,
}

#[derive(Debug, Args)]
pub(crate) struct Admit {
    /// Who is let in
    pub(crate) peer: String,
    /// As what: member, or admin, which takes the owner
    #[arg(
        long,
        value_enum,
        default_value = "member",
        hide_possible_values = true
    )]
    pub(crate) role: MemberRole,
    /// The name by which others see them; without it, the one they gave
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Who is removed
    pub(crate) peer: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeRole {
    /// Whose role is changed
    pub(crate) peer: String,
    /// admin (also invites and removes members) or member
    #[arg(value_enum, hide_possible_values = true)]
    pub(crate) role: MemberRole,
}

#[derive(Debug, Args)]
pub(crate) struct Device {
    #[command(subcommand)]
    pub(crate) command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Make a link by which another device of yours joins, once, within 10 minutes
    Add {
        /// What to call it
        #[arg(long, value_name = "NAME", default_value = "phone", value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
        /// Show the link as a QR code too
        #[arg(long)]
        qr: bool,
    },
    /// List your devices
    List,
    /// Take a device out: for good, for its key
    Remove {
        /// Its name, or the first digits of its key
        device: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Owner {
    #[command(subcommand)]
    pub(crate) command: OwnerCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OwnerCommand {
    /// Become the owner by the recovery key
    #[command(after_help = RECOVER_HELP)]
    Recover(Recover),
    /// Offer the mesh to a member, who becomes its owner by `owner accept`; you stay an admin
    Transfer {
        /// To whom
        peer: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Become the owner, if the owner has offered it
    Accept,
}

#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// Where the key is read from: '-' is stdin
    #[arg(long, value_name = "-", allow_hyphen_values = true)]
    pub(crate) key: String,
    /// The name by which others see you
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The mesh, if this machine does not know it
    #[arg(long, value_name = "ID", requires = "broker")]
    pub(crate) mesh_id: Option<MeshId>,
    /// Its broker's address, if this machine does not know it
    #[arg(long, value_name = "URL", requires = "mesh_id")]
    pub(crate) broker: Option<BrokerUrl>,
}
