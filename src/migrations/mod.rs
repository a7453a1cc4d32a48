//! Migrations: ordered sets of SQL files, and how a set is applied to one database.
//!
//! A set comes from the program itself, from a folder, or from the control database; wherever it comes from it
//! runs the same way, one transaction a file, under a lock, with refinery's history and checksums. Files are never changed once
//! applied: a database whose history differs from the set is left alone and reported.
//!
//! A tenant's database has two streams ([`TenantSchema`]): Freehold's own in the schema `freehold`, and the product's in
//! `public`. Each has versions and a history of its own, so that neither can take the other's number or name.
//!
//! This module must never wait for a lock inside PostgreSQL, and never decide *which* databases to migrate.

mod adopt;
mod apply;
mod contract;
mod embedded;
mod file;
mod folder;
mod history;
pub mod lint;
mod marker;
mod own;
mod privileges;
mod readable;
mod schema;
mod sent;
mod set;
mod tenant;
mod undo_file;

pub use adopt::adopt_history;
pub use apply::{
    AppliedFile, Limits, Outcome, Progress, RehearsedLock, RehearsedStatement, Report, Wait, WaitingRequests, WayBack,
    apply_control, apply_tenant, rehearse_tenant, undo_tenant,
};
pub use contract::Contract;
pub use embedded::OLDEST_FREEHOLD_VERSION;
pub use file::{MAX_SQL_BYTES, MigrationFile};
pub use history::{HISTORY_TABLE, SELECT_VERSIONS, applied_versions, foreign_product_version};
pub use marker::Mode;
pub use own::FreeholdPart;
pub use privileges::{Roles, default_privileges, no_default_privileges};
pub use readable::unreadable;
pub use schema::{Difference, Schema};
pub use sent::{Sent, published_differs};
pub use set::{MAX_FILES, MigrationSet};
pub use tenant::TenantSchema;
pub use undo_file::UndoFile;

/// A product's migrations, compiled in: `migrations!("migrations": "V1__notes.sql", "V2__pins.sql")`.
///
/// The folder lies beside the product's `Cargo.toml`. Each file is named here, and so the compiler notices one that is
/// missing or has changed.
#[macro_export]
macro_rules! migrations {
    ($folder:literal: $($file:literal),* $(,)?) => {
        ::std::vec![$((
            $file,
            ::std::include_str!(::std::concat!(::std::env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $file)),
        )),*]
    };
}
