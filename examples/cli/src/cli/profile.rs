//! The arguments of `profile`.

use clap::{Args, ValueEnum};

pub(super) const PROFILE_HELP: &str = "\
Without an option it shows the profile. What is written here is the broker's, in the open, for all
members; the owner and admins change that of others, too. Clients of the existing system go by it.
A name that stands in the membership log is not changed by the broker: leave, and join by a new link
with --name. Roles are changed by `claudemesh role`.
Examples:
  claudemesh profile
  claudemesh profile --role-tag reviewer --groups ops:lead,docs
  claudemesh profile --member bob --message-mode inbox
JSON: member_id, pubkey (null where the broker does not tell it), name, role_tag, groups (a list of
name and role), message_mode, permission (admin or member), online, changed.";

#[derive(Debug, Args)]
pub(crate) struct Profile {
    /// The name, where no membership log has it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// What the member is for, in a word or two; '' for nothing
    #[arg(long, value_name = "TAG")]
    pub(crate) role_tag: Option<String>,
    /// All groups of its clients that name none, as group or group:role, with commas; '' for none
    #[arg(long, value_name = "GROUPS")]
    pub(crate) groups: Option<String>,
    /// How its clients take messages: push, inbox or off
    #[arg(long, value_enum, value_name = "MODE", hide_possible_values = true)]
    pub(crate) message_mode: Option<MessageMode>,
    /// Of whom: a name, a key or its first digits, or the broker's id of a member; without it, you
    #[arg(long, value_name = "MEMBER")]
    pub(crate) member: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MessageMode {
    /// As they come
    Push,
    /// When asked for
    Inbox,
    /// None
    Off,
}

impl MessageMode {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Inbox => "inbox",
            Self::Off => "off",
        }
    }
}
