//! The commands in `claudemesh --help`, by what they are for.

use clap::Command;

/// Each command is in one of them.
const GROUPS: [(&str, &[&str]); 7] = [
    (
        "Begin",
        &["demo", "broker", "create", "invite", "join", "list"],
    ),
    (
        "Talk",
        &[
            "send",
            "inbox",
            "listen",
            "outbox",
            "msg-status",
            "topic",
            "group",
            "remind",
            "schedule",
        ],
    ),
    (
        "People",
        &[
            "peers", "members", "admit", "remove", "role", "owner", "verify", "trust", "kick",
            "ban", "unban", "bans",
        ],
    ),
    (
        "Whose messages are wanted",
        &["policy", "requests", "block", "grant", "revoke", "grants"],
    ),
    (
        "You, and what all share",
        &[
            "whoami", "profile", "status", "summary", "device", "state", "task", "remember",
            "recall", "forget",
        ],
    ),
    (
        "Agents",
        &[
            "install",
            "uninstall",
            "launch",
            "mcp",
            "hook",
            "wait",
            "serve",
            "status-line",
        ],
    ),
    (
        "Upkeep",
        &[
            "info",
            "doctor",
            "audit",
            "apikey",
            "backup",
            "restore",
            "set-url",
            "upgrade",
            "leave",
            "delete",
            "completions",
        ],
    ),
];

/// The command with a help that shows its verbs in groups. They are hidden for that, so this one is
/// for parsing and helping alone.
pub(crate) fn grouped(command: Command) -> Command {
    let header = *command.get_styles().get_header();
    let literal = *command.get_styles().get_literal();
    let width = command.get_subcommands().map(|verb| verb.get_name().len());
    let width = width.max().unwrap_or(0);
    let mut text = String::new();
    for (title, verbs) in GROUPS {
        text.push_str(&format!("{header}{title}:{header:#}\n"));
        for name in verbs {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("  {literal}{name:<width$}{literal:#}  {about}\n"));
        }
        text.push('\n');
    }
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{text}\
         {{all-args}}{{after-help}}"
    );
    command
        .override_usage("claudemesh [OPTIONS] <COMMAND>")
        .help_template(template)
        .mut_subcommands(|verb| verb.hide(true))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn each_command_is_in_one_group() {
        let command = crate::cli::Cli::command();
        let shown = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        let mut shown: Vec<_> = shown.map(Command::get_name).collect();
        let mut grouped: Vec<_> = GROUPS.iter().flat_map(|(_, verbs)| *verbs).collect();
        shown.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(shown, grouped.into_iter().copied().collect::<Vec<_>>());
    }
}
