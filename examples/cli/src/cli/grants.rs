//! The arguments of `block`, `grant`, `revoke` and `grants`: `policy` in the words of the existing
//! command line.

use clap::{Args, ValueEnum};

pub(super) const GRANT_HELP: &str = "\
What there is to grant is dm (direct messages) and broadcast (messages to many); all is both. Both
are allowed unless they were revoked. It is kept on this machine and holds for it: see `policy`,
which has more to say (ask, mute, and rules for everybody).
JSON: name, pubkey, capabilities (a list), rule.";

pub(super) const REVOKE_HELP: &str = "\
Revoking all blocks: messages are dropped and counted, and the sender is not told. Revoking dm alone
has direct messages wait for your answer (`claudemesh requests`). Messages to many alone cannot be
revoked: they are `claudemesh policy set PEER mute`, kept without waking anybody.
Examples:
  claudemesh revoke bob dm
  claudemesh revoke bob all
JSON: name, pubkey, capabilities (a list), rule.";

pub(super) const BLOCK_HELP: &str = "\
The same as `claudemesh revoke PEER all`, and `claudemesh policy set PEER block`; `claudemesh grant
PEER all` takes it back. JSON: name, pubkey, capabilities (an empty list), rule.";

pub(super) const GRANTS_HELP: &str = "\
Only who has a rule is shown; everybody else may do both.
JSON: mesh, grants (an object: of each key the list of what it may do), rules (see `policy list`).";

/// What somebody may be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Capability {
    /// Direct messages
    Dm,
    /// Messages to many
    Broadcast,
    /// Both
    All,
    // These are for members here, by the membership log, and not for one peer to give to another.
    #[value(hide = true)]
    Read,
    #[value(hide = true)]
    StateRead,
    #[value(hide = true)]
    StateWrite,
    #[value(hide = true)]
    FileRead,
}

#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// Whom
    pub(crate) peer: String,
    /// What: dm, broadcast or all
    #[arg(required = true, value_enum, value_name = "WHAT")]
    pub(crate) what: Vec<Capability>,
}

#[derive(Debug, Args)]
pub(crate) struct Block {
    /// Whom
    pub(crate) peer: String,
}
