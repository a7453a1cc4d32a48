//! Finds the programs that `freehold dev` starts: PostgreSQL 15 or newer, and Redis if there is one.
//!
//! Looks only; installing is the business of `ops/setup`.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::servers::programs::{Programs, path_folders, usual_folders};

/// The oldest PostgreSQL that Freehold works with (docs: isolation model).
const OLDEST_MAJOR: i32 = 15;

/// What makes a cluster and runs it.
const NEEDED: [&str; 2] = ["postgres", "initdb"];

/// `PG_BIN` if it is set; else what stands in `PATH`; else the newest installation in the usual folders.
pub(super) async fn postgres() -> anyhow::Result<Programs> {
    // Also when it is empty, as by a command in its place that has failed: another version would run unnoticed.
    if let Some(folder) = env::var_os("PG_BIN") {
        let folder = PathBuf::from(folder);
        return inspect(&folder).await.with_context(|| {
            format!(
                "PG_BIN={} does not hold PostgreSQL {OLDEST_MAJOR} or newer (postgres and initdb)",
                folder.display()
            )
        });
    }
    for folder in path_folders() {
        if let Some(found) = inspect(&folder).await {
            return Ok(found);
        }
    }
    let mut newest: Option<Programs> = None;
    for folder in usual_folders() {
        if let Some(found) = inspect(&folder).await
            && newest.as_ref().is_none_or(|best| found.major() > best.major())
        {
            newest = Some(found);
        }
    }
    newest.with_context(|| {
        format!(
            "found no PostgreSQL {OLDEST_MAJOR} or newer (postgres and initdb): install it (./ops/run does), or set \
             PG_BIN to the folder that holds them"
        )
    })
}

async fn inspect(folder: &Path) -> Option<Programs> {
    Programs::inspect(folder, &NEEDED).await.filter(|found| found.major() >= OLDEST_MAJOR)
}

/// The path of `redis-server` (or its fork under another name), if there is one.
pub(super) fn redis_server() -> Option<PathBuf> {
    let usual = ["/opt/homebrew/bin", "/usr/local/bin", "/usr/sbin"].map(PathBuf::from);
    path_folders()
        .into_iter()
        .chain(usual)
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|program| program.is_file())
}
