//! Meshes of the existing system, from its database or a dump of it, into a broker's store.
//!
//! What is taken: meshes, members, open invites, topics with who is in them, state, memories, and
//! whom members let send to them. What never is: secret keys, which that system keeps of meshes;
//! they are not even read. All of it goes in with one transaction, or nothing. A mesh that is here
//! already is left as it is, so doing it again changes nothing.

#[cfg(feature = "postgres")]
mod database;
mod dump;
mod fields;
mod plan;
mod tables;

#[cfg(feature = "postgres")]
pub(crate) use database::{DatabaseError, read_database};
pub(crate) use dump::read_dump;
pub(crate) use plan::{MeshReport, Plan, What, plan};
pub use tables::SourceError;
pub(crate) use tables::Tables;
