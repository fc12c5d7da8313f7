//! Where a command finds the store: in the folder or in PostgreSQL.

use std::io::Write;
use std::path::Path;

use claudemesh_core::audit::Place as AuditPlace;
use claudemesh_core::id::MeshId;

use super::{OperatorError, StoreArg};
use crate::rules::Rules;
use crate::store::{self, AuditReport, GcReport, MeshInfo, PostgresUrl, StoreText};

/// The store of a broker.
pub(crate) enum Place<'a> {
    /// In its folder.
    Folder(&'a Path),
    /// In PostgreSQL.
    Postgres(PostgresUrl),
}

impl<'a> Place<'a> {
    pub(super) fn of(args: &'a StoreArg) -> Result<Self, OperatorError> {
        Self::at(&args.data, args.store.as_ref())
    }

    /// That of a folder and, perhaps, a URL.
    pub(crate) fn at(data: &'a Path, store: Option<&StoreText>) -> Result<Self, OperatorError> {
        Ok(match store {
            None => Self::Folder(data),
            Some(_) if cfg!(not(feature = "postgres")) => return Err(OperatorError::NoPostgres),
            Some(text) => Self::Postgres(text.url()?),
        })
    }
}

#[cfg(feature = "postgres")]
use crate::store::postgres_admin as postgres;

impl Place<'_> {
    pub(super) fn inspect(&self) -> Result<Vec<MeshInfo>, OperatorError> {
        match self {
            Self::Folder(dir) => Ok(store::inspect(dir)?),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Ok(postgres::inspect(url)?),
            #[cfg(not(feature = "postgres"))]
            Self::Postgres(_) => Err(OperatorError::NoPostgres),
        }
    }

    pub(super) fn export(&self, mesh: &MeshId, out: &mut dyn Write) -> Result<(), OperatorError> {
        match self {
            Self::Folder(dir) => store::export(dir, mesh, out)?,
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => postgres::export(url, mesh, out)?,
            #[cfg(not(feature = "postgres"))]
            Self::Postgres(_) => return Err(OperatorError::NoPostgres),
        };
        Ok(())
    }

    pub(super) fn gc(&self, rules: &Rules, now: u64) -> Result<GcReport, OperatorError> {
        match self {
            Self::Folder(dir) => Ok(store::gc(dir, rules, now)?),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Ok(postgres::gc(url, rules, now)?),
            #[cfg(not(feature = "postgres"))]
            Self::Postgres(_) => Err(OperatorError::NoPostgres),
        }
    }

    pub(crate) fn verify(
        &self,
        mesh: Option<&MeshId>,
        pinned: &[(MeshId, AuditPlace)],
    ) -> Result<Vec<AuditReport>, OperatorError> {
        match self {
            Self::Folder(dir) => Ok(store::verify_audit_pinned(dir, mesh, pinned)?),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Ok(postgres::verify(url, mesh, pinned)?),
            #[cfg(not(feature = "postgres"))]
            Self::Postgres(_) => Err(OperatorError::NoPostgres),
        }
    }
}
