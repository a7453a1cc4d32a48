//! All the servers that Freehold needs, brought up together in one folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use secrecy::SecretString;

use super::{
    binaries,
    cluster::{self, ADMIN_ROLE, CONTROL_DATABASE, CONTROL_ROLE, Cluster, MAINTENANCE_DATABASE},
    lock::FolderLock,
    place::Place,
    redis::{self, Redis},
    roles,
};

/// The name of the server that holds the tenants.
pub const SERVER_NAME: &str = "local-1";

/// What a dev environment puts into its folder beside the clusters' folders and the lock.
const MADE: [&str; 6] = [redis::FOLDER, "mail", "objects", "state.json", "dev.json", "dev.env"];

/// Enough for several replicas under a budget, and for what tests hold open beside them.
const MAX_CONNECTIONS: u16 = 200;

/// The running servers. Dropped, they are ended at once; [`Environment::stop`] ends them in order.
pub struct Environment {
    /// Holds the control database and the platform tenant.
    pub control: Cluster,
    /// Holds the tenants' databases.
    pub server: Cluster,
    /// The folder with PostgreSQL's programs, if those for dumps are among them.
    pub postgres_bin: Option<PathBuf>,
    /// Absent where Redis is not installed.
    pub redis: Option<Redis>,
    folder: PathBuf,
    // Last: freed when all else has been dropped.
    _lock: FolderLock,
}

/// Starts everything in `folder`; with `reset`, from nothing. Ready within seconds; only the first start has to
/// make the clusters.
///
/// # Errors
/// In sentences that say what to do: no PostgreSQL, a folder that another run uses, a cluster that does not start.
pub async fn start(folder: &Path, reset: bool) -> anyhow::Result<Environment> {
    let binaries = binaries::postgres().await?;
    let place = Place::of(folder).await?;
    place.check_runs(&binaries.program("postgres")).await?;
    let lock = FolderLock::acquire(folder)?;
    if reset {
        stop_leftovers(&place).await?;
        for folder in [place.folder(), folder] {
            clear(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
        }
    }
    let (control, server, redis) = tokio::try_join!(
        async {
            let cluster = Cluster::start(&place, "control", MAX_CONNECTIONS, &binaries).await?;
            roles::prepare_control(&cluster).await?;
            anyhow::Ok(cluster)
        },
        async {
            let cluster = Cluster::start(&place, SERVER_NAME, MAX_CONNECTIONS, &binaries).await?;
            roles::prepare_server(&cluster).await?;
            anyhow::Ok(cluster)
        },
        Redis::start(&place),
    )?;
    let postgres_bin = binaries.program("pg_dump").is_file().then(|| binaries.folder().to_owned());
    Ok(Environment { control, server, postgres_bin, redis, folder: folder.to_owned(), _lock: lock })
}

impl Environment {
    /// The folder that it was started in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How Freehold reaches its control database, as that database's owner.
    pub fn control_url(&self) -> anyhow::Result<SecretString> {
        self.control.url(CONTROL_ROLE, CONTROL_DATABASE)
    }

    /// How Freehold administers the server that holds the platform tenant (the control database's own).
    pub fn platform_admin_url(&self) -> anyhow::Result<SecretString> {
        self.control.url(ADMIN_ROLE, MAINTENANCE_DATABASE)
    }

    /// How Freehold administers the server that holds the tenants.
    pub fn server_admin_url(&self) -> anyhow::Result<SecretString> {
        self.server.url(ADMIN_ROLE, MAINTENANCE_DATABASE)
    }

    /// Ends all of it in order. Bounded; every part is told to end even when another does not.
    pub async fn stop(self) -> anyhow::Result<()> {
        let redis = async {
            match self.redis {
                Some(redis) => redis.stop().await,
                None => Ok(()),
            }
        };
        let (control, server, redis) = tokio::join!(self.control.stop(), self.server.stop(), redis);
        control.and(server).and(redis)
    }
}

/// Ends what an earlier run left running, whatever it was called.
async fn stop_leftovers(place: &Place) -> anyhow::Result<()> {
    for entry in fs::read_dir(place.folder())? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with(cluster::FOLDER_PREFIX) {
            cluster::stop_leftover(&place.within(name)?).await?;
        } else if name == redis::FOLDER {
            redis::stop_leftover(&place.within(name)?).await?;
        }
    }
    Ok(())
}

/// Removes what a dev environment makes, and nothing else: the folder may be somebody's own.
fn clear(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !MADE.contains(&&*name) && !name.starts_with(cluster::FOLDER_PREFIX) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
