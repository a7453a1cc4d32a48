//! The sets that Freehold carries. A product brings its own: see [`migrations!`](crate::migrations!).

use refinery_core::Migration;

use super::MigrationSet;
use crate::error::{Error, Result};

/// The oldest version of Freehold's stream that this release can serve. It rises in the release after the one that needs
/// what a migration made, so that tenants are served until a rollout has reached them.
pub const OLDEST_FREEHOLD_VERSION: i32 = 1;

mod freehold {
    refinery::embed_migrations!("tenant-migrations/freehold");
}

mod control {
    refinery::embed_migrations!("control-migrations");
}

impl MigrationSet {
    /// Freehold's own migrations of tenant databases (`tenant-migrations/freehold/`).
    pub fn embedded_freehold() -> Result<Self> {
        from_refinery(freehold::migrations::runner().get_migrations())
    }

    /// The migrations of the control database (`control-migrations/`).
    pub fn embedded_control() -> Result<Self> {
        from_refinery(control::migrations::runner().get_migrations())
    }
}

fn from_refinery(migrations: &[Migration]) -> Result<MigrationSet> {
    let file = |migration: &Migration| {
        let sql = migration.sql().ok_or_else(|| Error::defect("an embedded migration has no text"))?;
        // Its `Display` is its file's name, that of an undo file too.
        Ok((format!("{migration}.sql"), sql.to_owned()))
    };
    MigrationSet::parse(migrations.iter().map(file).collect::<Result<Vec<_>>>()?)
}
