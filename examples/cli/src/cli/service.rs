//! The arguments of what the broker does for owners and admins, and of tasks.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::duration;

pub(super) const KICK_HELP: &str = "\
Its programs are told not to come back by themselves; whoever starts them again is in again. To take
a member out for good: `claudemesh remove`. For the owner and admins. JSON: name, pubkey, ended (a
list of the connections' names).";

pub(super) const BAN_HELP: &str = "\
For members that came by the broker's word alone, such as clients of the existing system. It stops
the broker's service for them: what they know already they keep. Who is in the membership log is
taken out by `claudemesh remove`, with new keys for those who stay. For the owner and admins.
JSON: name, pubkey.";

pub(super) const BANS_HELP: &str = "\
As the broker has it: who was banned, and who was removed. JSON: a list of name, pubkey, revoked_at.";

pub(super) const APIKEY_HELP: &str = "\
A key opens routes of the broker's HTTP for programs without a connection: what is in the open and
ciphertext, never what is sealed. Its secret is shown once, and kept at the broker as a hash. Any
member makes keys for itself, and sees and takes back its own; the owner and admins those of all, and
only they make one that opens admin. A key ends with its member.
Examples:
  claudemesh apikey create ci --can read --topic deploys --expires 30d
  claudemesh apikey list
  claudemesh apikey revoke 3f9a
JSON: of create id, secret, label, prefix, capabilities, topics, created_at; of list a list of those
without secret, with last_used_at, revoked_at, expires_at; of revoke status.";

pub(super) const TASK_HELP: &str = "\
Tasks are kept sealed, in the state of the mesh under keys that begin with `task.`: the broker does not
read them, and of two who claim one at the same time one gets it (exit code 6 for the other).
Examples:
  claudemesh task create 'review the release notes' --for bob
  claudemesh task list --open
  claudemesh task claim 3f9a
  claudemesh task complete 3f9a 'done, two remarks'
JSON: id, title, status (open, claimed or done), for, claimed_by, created_by, result, created_at; of
list a list of those.";

#[derive(Debug, Args)]
pub(crate) struct OnePeer {
    /// Who
    pub(crate) peer: String,
}

#[derive(Debug, Args)]
pub(crate) struct Banned {
    /// Who: a name as `claudemesh bans` has it, or a key or its first digits
    pub(crate) peer: String,
}

#[derive(Debug, Args)]
pub(crate) struct ApiKey {
    #[command(subcommand)]
    pub(crate) command: ApiKeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApiKeyCommand {
    /// Make a key
    Create {
        /// What it is for
        label: String,
        /// What it opens: send, read, state_write or admin; may be given several times
        #[arg(long, value_name = "WHAT", default_value = "read")]
        can: Vec<String>,
        /// Only this topic; may be given several times
        #[arg(long, value_name = "TOPIC")]
        topic: Vec<String>,
        /// For how long it is good
        #[arg(long, value_name = "TIME", value_parser = duration::parse)]
        expires: Option<Duration>,
    },
    /// List the keys
    List,
    /// Take a key back
    Revoke {
        /// The key's id, or its first characters
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Task {
    #[command(subcommand)]
    pub(crate) command: TaskCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Say what is to be done
    Create {
        /// What; '-' reads it from stdin
        title: String,
        /// Who should do it
        #[arg(long = "for", value_name = "NAME")]
        assignee: Option<String>,
    },
    /// List the tasks
    List {
        /// Only those that nobody has taken
        #[arg(long)]
        open: bool,
    },
    /// Take an open task
    Claim {
        /// The task's id, or its first characters
        id: String,
    },
    /// Say that a task is done
    Complete {
        /// The task's id, or its first characters
        id: String,
        /// What came of it; '-' reads it from stdin
        result: Option<String>,
    },
}
