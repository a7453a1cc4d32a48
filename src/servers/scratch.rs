//! Scratch databases: where an archive is restored before its original is dropped, and nothing else.
//!
//! A scratch database carries Freehold's mark and is closed to everybody but the login that restores. Its name holds the
//! tenant whose archive is tried in it. Callers hold that tenant's lock.

use super::{DatabaseInfo, ServerAdmin};
use crate::{error::Result, types::DbName};

/// What the names of scratch databases begin with.
const PREFIX: &str = "freehold_scratch_";

/// The scratch database for the tenant whose database has this name.
#[must_use]
pub fn scratch_name(of: DbName) -> String {
    format!("{PREFIX}{}", of.tenant().uuid().simple())
}

/// The database of the tenant that this scratch database is for; none when it is no scratch database.
#[must_use]
pub fn scratch_of(name: &str) -> Option<DbName> {
    let tenant = name.strip_prefix(PREFIX)?;
    format!("{}{tenant}", DbName::PREFIX).parse().ok()
}

impl ServerAdmin {
    /// Makes an empty scratch database, in place of what an earlier attempt has left.
    ///
    /// # Errors
    /// `database_taken` when one of that name belongs to somebody else; `database_in_use` for sessions in the one that
    /// was left which this role may not end.
    pub async fn make_scratch(&self, of: DbName) -> Result<()> {
        let name = scratch_name(of);
        self.drop_scratch(of).await?;
        self.ensure_empty_database(&name).await?;
        self.mark_database(&name).await
    }

    /// Drops the scratch database; one that is not there is done.
    ///
    /// # Errors
    /// As [`make_scratch`](Self::make_scratch).
    pub async fn drop_scratch(&self, of: DbName) -> Result<()> {
        let name = scratch_name(of);
        let Some(found) = self.database(&name).await? else { return Ok(()) };
        found.check_owner()?;
        // What an interrupted DROP has left lets nobody in and cannot be altered any more.
        if !found.is_interrupted_drop() {
            self.alter_database(&name, "ALLOW_CONNECTIONS false").await?;
        }
        self.terminate_sessions_of(&name, None).await?;
        Ok(self.drop_closed(&name).await??)
    }

    /// The scratch database, if it is there.
    pub async fn scratch(&self, of: DbName) -> Result<Option<DatabaseInfo>> {
        self.database(&scratch_name(of)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_whose_it_is() {
        let of: DbName = "tenant_0190b6a4c1e87d3f8a2b5c6d7e8f9012".parse().unwrap();
        assert_eq!(scratch_name(of), "freehold_scratch_0190b6a4c1e87d3f8a2b5c6d7e8f9012");
        assert_eq!(scratch_of(&scratch_name(of)), Some(of));
        assert_eq!(scratch_of("freehold_scratch_x"), None);
        assert_eq!(scratch_of("tenant_0190b6a4c1e87d3f8a2b5c6d7e8f9012"), None);
    }
}
