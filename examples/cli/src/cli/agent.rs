//! The arguments of what agents use.

use std::time::Duration;

use clap::Args;
use claudemesh_core::id::ChannelName;

use crate::agent::address::VARIABLE;
use crate::duration;

pub(super) const MCP_HELP: &str = "\
A client starts this by itself: `claudemesh install` writes it into the client's configuration. It
speaks MCP on stdin and stdout, in the versions up to 2025-11-25 and in 2026-07-28.
Every agent reads its own messages: they are kept under the session's name, by default that of the
folder, made unique on this machine. At the end of stdin what the tools accepted is sent, and what
the broker did not take within 5 s waits on disk for the next command.
Example, by hand:
  claude mcp add claudemesh -- claudemesh mcp --channel";

#[derive(Debug, Args)]
pub(crate) struct Mcp {
    /// Push what comes into the client's conversation, for clients that take
    /// notifications/claude/channel; then a client has to begin with initialize
    #[arg(long, env = "CLAUDEMESH_CHANNEL", hide_env = true)]
    pub(crate) channel: bool,
    /// The session's name, by which messages are unread or not
    #[arg(long, value_name = "NAME", env = VARIABLE, hide_env_values = true)]
    pub(crate) session: Option<String>,
    /// Tell the members of the mesh what this agent does
    #[arg(long, value_name = "TEXT", value_parser = super::kept::summary, env = "CLAUDEMESH_SUMMARY", hide_env = true)]
    pub(crate) summary: Option<String>,
    /// Join this group at the start; may be given several times
    #[arg(long = "group", value_name = "@GROUP", value_parser = group, env = "CLAUDEMESH_GROUPS", hide_env = true, value_delimiter = ',')]
    pub(crate) groups: Vec<ChannelName>,
    /// When the first push goes out: what comes earlier is lost on the client
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration::parse, hide = true)]
    pub(crate) welcome_after: Duration,
    /// When unread messages are told of again; then after twice that time, and so on
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse, hide = true)]
    pub(crate) nudge_after: Duration,
}

fn group(text: &str) -> Result<ChannelName, String> {
    let bare = text.trim().trim_start_matches('@');
    ChannelName::new(format!("@{bare}")).map_err(|error| error.to_string())
}
