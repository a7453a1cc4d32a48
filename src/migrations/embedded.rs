//! The sets that the program carries.

use refinery_core::Migration;

use super::{MigrationFile, MigrationSet};
use crate::error::{Error, Result};

mod tenant {
    refinery::embed_migrations!("tenant-migrations");
}

mod control {
    refinery::embed_migrations!("control-migrations");
}

impl MigrationSet {
    /// The migrations of tenant databases (`tenant-migrations/`).
    pub fn embedded_tenant() -> Result<Self> {
        from_refinery(tenant::migrations::runner().get_migrations())
    }

    /// The migrations of the control database (`control-migrations/`).
    pub fn embedded_control() -> Result<Self> {
        from_refinery(control::migrations::runner().get_migrations())
    }
}

fn from_refinery(migrations: &[Migration]) -> Result<MigrationSet> {
    let file = |migration: &Migration| {
        let sql = migration.sql().ok_or_else(|| Error::defect("an embedded migration has no text"))?;
        Ok(MigrationFile { version: migration.version(), name: migration.name().to_owned(), sql: sql.to_owned() })
    };
    MigrationSet::new(migrations.iter().map(file).collect::<Result<_>>()?)
}
