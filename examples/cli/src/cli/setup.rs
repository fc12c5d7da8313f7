//! The arguments of what sets agents up.

use clap::{Args, ValueEnum};
use claudemesh_core::id::ChannelName;

use super::agent::group;
use crate::agent::client::Client;

pub(super) const INSTALL_HELP: &str = "\
Writes the MCP server, the hooks and a skill file into the configuration of the clients that are
found here. What else stands in these files stays, comments too; each is copied first, beside itself
(.before-claudemesh.1), and the lines that change are shown. Running it again changes nothing, or
puts right what is out of date. Files: docs/agents.md lists them.
Examples:
  claudemesh install --dry-run
  claudemesh install --client claude-code --status-line
  claudemesh --mesh team install --client codex
JSON: a list of client, path, change (none, written, removed, or would_write and would_remove with
--dry-run), diff and backup.";

pub(super) const UNINSTALL_HELP: &str = "\
Takes out what `claudemesh install` writes, whatever version wrote it, and nothing else. Meshes,
keys and messages stay: `claudemesh leave --purge` is for those. JSON: as install has it.";

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// Which client; may be given several times. Without it, all that were used here
    #[arg(long, value_enum, value_name = "CLIENT")]
    pub(crate) client: Vec<Client>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Have Claude Code show name, mesh and unread messages in its status line
    #[arg(long)]
    pub(crate) status_line: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Which client; may be given several times. Without it, all that were used here
    #[arg(long, value_enum, value_name = "CLIENT")]
    pub(crate) client: Vec<Client>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

pub(super) const LAUNCH_HELP: &str = "\
Claude Code and Codex need no `install` for it: the server is named on their command line, for this
session alone. Messages: push shows them in the conversation while it is idle (Claude Code alone, by
its development channels); hook hands them in with a prompt and at the end of a turn; off leaves
them until the agent asks. The default is push for Claude Code and hook for the others.
A name is kept: an agent that is launched again under it has the same address, and what waited for
it.
Examples:
  claudemesh launch --as web --role 'reviews the web part' --group @frontend
  claudemesh launch codex --as api -- resume --last
  claudemesh launch -- --resume";

/// How messages come to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Messages {
    /// Shown in the conversation
    Push,
    /// Handed in by hooks
    Hook,
    /// Only when the agent asks
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Which client to start
    #[arg(value_enum, default_value = "claude-code")]
    pub(crate) client: Client,
    /// Tell the members of the mesh what this agent does
    #[arg(long, value_name = "TEXT", value_parser = super::kept::summary)]
    pub(crate) role: Option<String>,
    /// Have it join this group; may be given several times
    #[arg(long = "group", value_name = "@GROUP", value_parser = group)]
    pub(crate) groups: Vec<ChannelName>,
    /// How messages come to it: push, hook or off
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true)]
    pub(crate) messages: Option<Messages>,
    /// What the client gets as arguments
    #[arg(last = true, value_name = "ARG")]
    pub(crate) rest: Vec<String>,
}
