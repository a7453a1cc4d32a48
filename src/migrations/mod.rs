//! Migrations: ordered sets of SQL files, and how a set is applied to one database.
//!
//! A set comes from the program itself, from a folder, or from the control database; wherever it comes from it
//! runs the same way, through refinery, one transaction a file, under a lock. Files are never changed once
//! applied: a database whose history differs from the set is left alone and reported.
//!
//! This module must never wait for a lock inside PostgreSQL, and never decide *which* databases to migrate.

mod apply;
mod embedded;
mod file;
mod history;
mod schema;
mod set;

pub use apply::{Report, apply};
pub use file::{MAX_SQL_BYTES, MigrationFile};
pub use history::HISTORY_TABLE;
pub use schema::Schema;
pub use set::{MAX_FILES, MigrationSet};
