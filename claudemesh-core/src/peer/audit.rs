//! The broker's audit table: what it wrote down, and whether it is still what it was.

use super::{PATIENCE, Peer, PeerError};
use crate::session::{AuditReport, Command, Reply};

impl Peer {
    /// Checks the broker's audit table: the rows since the last check, or with `all` from the
    /// oldest that is kept on. That the chain holds proves that the broker rewrote nothing that it
    /// showed this peer; not that it writes down everything. The owner's and admins' right; needs
    /// the broker. One check at a time.
    ///
    /// # Errors
    /// [`PeerError`]. Rows that do not hold are no error, see [`AuditReport::fault`].
    pub async fn audit(&self, all: bool) -> Result<AuditReport, PeerError> {
        self.connected_within(PATIENCE).await?;
        match self.command(Command::Audit { all }).await? {
            Reply::Audit(report) => Ok(*report),
            _ => Err(PeerError::Closed),
        }
    }

    /// Takes the broker's audit table as it is now, after a person found out why it is not the one
    /// that was shown before: a backup that was put back, for example.
    ///
    /// # Errors
    /// [`PeerError`].
    pub async fn accept_audit(&self) -> Result<(), PeerError> {
        self.connected_within(PATIENCE).await?;
        self.command(Command::AcceptAudit).await.map(|_| ())
    }
}
