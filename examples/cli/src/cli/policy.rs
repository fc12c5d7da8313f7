//! The arguments of what says whose messages are wanted.

use clap::{Args, Subcommand};
use claudemesh_core::Rule;

pub(super) const POLICY_HELP: &str = "\
WHO is a peer, or `verified` (every member that the log vouches for and that has no rule of its own)
or `unverified` (everybody else). Without a rule messages are allowed.
  allow  they are unread at once
  ask    direct ones wait for your answer: `claudemesh requests`
  mute   they are kept, and wake nobody: shown by `inbox`, and with the next one that does wake
  block  they are dropped and counted; the sender is told that they were delivered
A rule counts for everything on this machine from the next message on, and for a member's devices.
Examples:
  claudemesh policy set bob mute
  claudemesh policy set unverified ask
  claudemesh policy clear bob
JSON of list: a list of who, name, pubkey, rule, dropped.";

pub(super) const REQUESTS_HELP: &str = "\
Messages wait here if a rule says `ask`: see `claudemesh policy`. After 31 days they are dropped.
Examples:
  claudemesh requests list
  claudemesh requests accept 01j9 --always
  claudemesh requests deny 01j9
JSON of list: a list of message_id, from_name, from_pubkey, verified, body, received_at.";

#[derive(Debug, Args)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// List the rules
    List,
    /// Say what becomes of somebody's messages
    Set {
        /// Whose: a peer, `verified` or `unverified`
        who: String,
        /// allow, ask, mute or block
        rule: Rule,
    },
    /// Take a rule back
    Clear {
        /// Whose
        who: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Requests {
    #[command(subcommand)]
    pub(crate) command: RequestsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RequestsCommand {
    /// List what waits for your answer
    List,
    /// Let a message through
    Accept {
        /// The message's id, or its first characters
        id: String,
        /// And everything of its sender from now on
        #[arg(long)]
        always: bool,
    },
    /// Refuse a message; its sender is not told
    Deny {
        /// The message's id, or its first characters
        id: String,
        /// And everything of its sender from now on
        #[arg(long)]
        always: bool,
    },
}
