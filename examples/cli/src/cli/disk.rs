//! The arguments of what is about this machine's files: backups, and what shells complete.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// The environment variable with the passphrase of a backup.
pub(crate) const PASSPHRASE: &str = "CLAUDEMESH_BACKUP_PASSPHRASE";

pub(super) const BACKUP_HELP: &str = "\
Whoever has the file and its passphrase is you in every mesh of this machine. Without --full it has
the keys and settings (config.json) in the form of the existing system, which reads it as well.
With --full it has messages in and out, what is pinned, membership logs, keys of channels and keys
of sessions, too; peers may go on meanwhile.
The passphrase is asked for, or read from --passphrase-file, or from the environment variable
CLAUDEMESH_BACKUP_PASSPHRASE: 12 characters at least, never among the arguments, which others on
this machine can see. Nobody can open the file without it.
Examples:
  claudemesh backup
  claudemesh backup team.cmb --full
  claudemesh backup team.cmb --passphrase-file ~/secret.txt
JSON: path, full, meshes, stores, sessions, bytes.";

pub(super) const RESTORE_HELP: &str = "\
Takes files of `claudemesh backup` and of the existing system. All of it is opened and checked before
anything is changed. What would be replaced is asked for, or takes --yes, and is kept beside it as
NAME.before-restore.TIME. End what runs on it first (listen, mcp, serve).
A backup is for the machine that it was made on, or one that takes its place: two machines under one
key take each other's messages. `claudemesh device add` is for a further machine.
Example:
  claudemesh restore team.cmb
JSON: full, meshes (their names), stores, sessions, set_aside (a list of files).";

pub(super) const COMPLETIONS_HELP: &str = "\
Examples:
  claudemesh completions bash > ~/.local/share/bash-completion/completions/claudemesh
  claudemesh completions zsh > ~/.zfunc/_claudemesh
  claudemesh completions fish > ~/.config/fish/completions/claudemesh.fish
JSON: shell, script.";

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file; without it claudemesh-backup-TIME.cmb in the current folder
    pub(crate) file: Option<PathBuf>,
    /// Messages, pins, logs, keys of channels and keys of sessions, too
    #[arg(long)]
    pub(crate) full: bool,
    /// Read the passphrase from the first line of this file; '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup
    pub(crate) file: PathBuf,
    /// Read the passphrase from the first line of this file; '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Replace what is here without asking
    #[arg(short, long, visible_alias = "force")]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}
