//! Compares the objects in the archive store with the archives in the control database.

use std::{collections::HashSet, time::Duration};

use futures::TryStreamExt;

use super::{Finding, finding};
use crate::{
    archives::{ArchiveName, Store},
    control::archives::{self, Expected},
    error::{Error, Result},
    operations::Context,
};

/// How long listing the store may take: seconds for a hundred thousand archives.
const BUDGET: Duration = Duration::from_secs(5);

/// Objects without a row, rows without an object, and attempts that nobody cleared away. Without a store there is
/// nothing to look at, and nothing should be expected there.
pub(super) async fn findings(ctx: &Context) -> Result<Vec<Finding>> {
    // The objects first: one that comes or goes meanwhile belongs to an operation, which explains it.
    let stored = match &ctx.archives {
        None => HashSet::new(),
        Some(store) => match list(store).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(error = error.chain(), "the archive store cannot be checked");
                let detail = "the archive store cannot be checked; the log has the reason";
                return Ok(vec![finding("unreachable_store", "", "archives".to_owned(), detail)]);
            }
        },
    };
    let expected = archives::expected(&mut *ctx.db.acquire().await?).await?;
    Ok(judge(&stored, &expected))
}

async fn list(store: &Store) -> Result<HashSet<ArchiveName>> {
    let listing = store.list(None).map_ok(|stored| stored.name).try_collect();
    let late =
        |_| Err(Error::unavailable("archive_store_unavailable", "listing the archive store takes too long", None));
    tokio::time::timeout(BUDGET, listing).await.unwrap_or_else(late)
}

fn judge(stored: &HashSet<ArchiveName>, expected: &[Expected]) -> Vec<Finding> {
    let name = |row: &Expected| ArchiveName { tenant: row.tenant_id, archive: row.id };
    let known: HashSet<_> = expected.iter().map(name).collect();
    let tell = |name: ArchiveName, detail: &str| {
        finding("orphan_archive", "", format!("{}/{}", name.tenant, name.archive), detail)
    };
    let nobodys = stored.difference(&known).map(|name| tell(*name, "an object that no archive is known for"));
    let lacking = expected.iter().filter_map(|row| match (row.is_complete, stored.contains(&name(row))) {
        (true, true) => None,
        (true, false) => Some(tell(name(row), "an archive whose object is not in the store")),
        (false, _) => Some(tell(name(row), "an archive that was never completed and not cleared away")),
    });
    nobodys.chain(lacking).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ArchiveId, Clock, Random, TenantId};

    #[test]
    fn what_is_on_one_side_only_is_found() {
        let row = |is_complete| Expected {
            tenant_id: TenantId::generate(&Clock::default(), Random),
            id: ArchiveId::generate(&Clock::default(), Random),
            is_complete,
        };
        let (good, lost, begun, stray) = (row(true), row(true), row(false), row(true));
        let stored = [good, stray].map(|row| ArchiveName { tenant: row.tenant_id, archive: row.id }).into();
        let found = judge(&stored, &[good, lost, begun]);
        let objects: HashSet<_> = found.iter().map(|finding| finding.object.clone()).collect();
        let expected = [lost, begun, stray].map(|row| format!("{}/{}", row.tenant_id, row.id));
        assert_eq!(objects, expected.into());
    }
}
