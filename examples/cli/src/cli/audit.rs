//! The arguments of `claudemesh audit`.

use clap::Args;

pub(super) const AUDIT_HELP: &str = "\
The broker keeps a table of who did what and when, without what was said. Each row carries a hash
over itself and the row before, and the broker signs the newest. That the rows hold proves that it
rewrote nothing of what it showed this machine before; not that it writes down everything.

Exit code 1: they do not hold. Only the owner and admins may read the table.";

/// Check the audit table.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Check and show all rows that are kept, not only those since the last time
    #[arg(long)]
    pub(crate) all: bool,
    /// Take the table as it is now, after you found out why it is not the one from before
    #[arg(long, conflicts_with = "all")]
    pub(crate) accept: bool,
}
