//! One private PostgreSQL cluster: made with initdb, started as a child of this process, stopped with it.
//!
//! `Cluster::start` stops a postmaster that an earlier run left in the folder, makes the data folder unless it is
//! there, and returns when connections are accepted. [`Cluster::stop`] ends it in order; dropping it ends it at
//! once. Its files: `data/`, `log/postgresql.log`, `credentials.json`, `port`. Durability is switched off: such a
//! cluster survives a kill, but not a power cut, and must never hold anything that is not to be lost.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::process::Signal;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep};

use super::{
    credentials::Credentials,
    initdb,
    place::Place,
    ports::Reservation,
    process::{Running, Supervised},
};
use crate::servers::programs::Programs;

/// Administers tenants' databases on a server: CREATEDB and CREATEROLE, nothing else.
pub const ADMIN_ROLE: &str = "freehold_admin";
/// Owns the control database.
pub const CONTROL_ROLE: &str = "freehold_control";
/// The control database.
pub const CONTROL_DATABASE: &str = "freehold_control";
/// Where administrative sessions begin.
pub const MAINTENANCE_DATABASE: &str = "postgres";
/// For people to look with; Freehold itself never uses it beyond preparing the cluster.
pub const SUPERUSER: &str = "postgres";

/// What the names of clusters' folders begin with.
pub(super) const FOLDER_PREFIX: &str = "postgres-";

/// Crash recovery after a kill included.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// Fast shutdown, immediate shutdown, then the hard way.
const STOP: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(10)),
    (Signal::QUIT, Duration::from_secs(5)),
    (Signal::KILL, Duration::from_secs(5)),
];

/// A running cluster.
pub struct Cluster {
    name: String,
    place: Place,
    port: u16,
    credentials: Credentials,
    postmaster: Postmaster,
}

impl Cluster {
    /// Starts the cluster `name` in the folder `postgres-<name>` of `place`, with room for `max_connections`
    /// sessions. Roles are prepared by [`super::environment`].
    pub(super) async fn start(
        place: &Place,
        name: &str,
        max_connections: u16,
        binaries: &Programs,
    ) -> anyhow::Result<Self> {
        let place = place.within(&format!("{FOLDER_PREFIX}{name}"))?;
        let started = Self::start_in(place, name, max_connections, binaries).await;
        started.with_context(|| format!("cannot start the PostgreSQL cluster {name}"))
    }

    async fn start_in(place: Place, name: &str, max_connections: u16, binaries: &Programs) -> anyhow::Result<Self> {
        stop_leftover(&place).await?;
        let names = [SUPERUSER, ADMIN_ROLE, CONTROL_ROLE];
        let credentials = Credentials::load_or_make(place.folder().join("credentials.json"), &names)?;
        initdb::ensure(&place, binaries, credentials.password(SUPERUSER)?).await?;
        let reservation = Reservation::remembered(&place.folder().join("port"))?;
        let port = reservation.port();
        initdb::configure(&place, port, max_connections)?;
        drop(reservation);
        let postmaster = Postmaster::start(&place, binaries).await?;
        Ok(Self { name: name.to_owned(), place, port, credentials, postmaster })
    }

    /// The name it was started under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process that this run started. A person may have put another in its place since.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.postmaster.0.pid()
    }

    /// On 127.0.0.1; the same from start to start unless another program takes it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `pg_ctl -D` wants.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        data_dir(&self.place)
    }

    /// The server's log, the same file across restarts.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.place.folder().join("log").join(initdb::LOG_FILE)
    }

    /// For people to look with.
    pub fn superuser_url(&self) -> anyhow::Result<SecretString> {
        self.url(SUPERUSER, MAINTENANCE_DATABASE)
    }

    /// How `role` reaches `database`: `postgres://role:password@127.0.0.1:port/database?sslmode=disable`.
    pub fn url(&self, role: &str, database: &str) -> anyhow::Result<SecretString> {
        let (password, port) = (self.password(role)?.expose_secret(), self.port);
        Ok(format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}?sslmode=disable").into())
    }

    pub(super) fn password(&self, role: &str) -> anyhow::Result<&SecretString> {
        self.credentials.password(role)
    }

    /// Ends the cluster in order, also when a person has killed and started it again meanwhile.
    pub async fn stop(self) -> anyhow::Result<()> {
        stop_leftover(&self.place).await
    }
}

fn data_dir(place: &Place) -> PathBuf {
    place.folder().join("data")
}

/// Stops the postmaster that runs in the cluster's folder, whoever started it.
pub(super) async fn stop_leftover(place: &Place) -> anyhow::Result<()> {
    let data = data_dir(place);
    match Running::find(&data.join("postmaster.pid"), &data).await {
        Some(running) => running.stop(&STOP).await,
        None => Ok(()),
    }
}

/// The server process. Dropped without having been stopped, it is told to end at once, sessions included.
struct Postmaster(Supervised);

impl Postmaster {
    /// Starts PostgreSQL and waits until it accepts connections.
    async fn start(place: &Place, binaries: &Programs) -> anyhow::Result<Self> {
        let deadline = Instant::now() + START_TIMEOUT;
        let errors = place.folder().join("start.log");
        loop {
            let postmaster = Self::spawn(place, binaries, &errors)?;
            if postmaster.wait_until_ready(&data_dir(place), deadline).await? {
                return Ok(postmaster);
            }
            let words = fs::read_to_string(&errors).unwrap_or_default();
            // Sessions of a killed postmaster hold its shared memory until they notice.
            if !words.contains("shared memory block") || Instant::now() >= deadline {
                bail!("PostgreSQL ended: {}\n{}", words.trim(), last_lines(&place.folder().join("log")));
            }
            sleep(POLL * 10).await;
        }
    }

    fn spawn(place: &Place, binaries: &Programs, errors: &Path) -> anyhow::Result<Self> {
        let errors = File::create(errors).with_context(|| format!("cannot write {}", errors.display()))?;
        let mut command = place.command(&binaries.program("postgres"));
        command.arg("-D").arg(data_dir(place)).stdout(errors.try_clone()?).stderr(errors);
        Supervised::spawn(&mut command, Signal::QUIT).map(Self)
    }

    /// True when it is ready, false when it has ended.
    async fn wait_until_ready(&self, data: &Path, deadline: Instant) -> anyhow::Result<bool> {
        while Instant::now() < deadline {
            if self.0.has_ended() {
                return Ok(false);
            }
            let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            if says_ready(&text, self.0.pid()) {
                return Ok(true);
            }
            sleep(POLL).await;
        }
        bail!("PostgreSQL was not ready within {} s; its log is in {}", START_TIMEOUT.as_secs(), data.display())
    }
}

/// `postmaster.pid` names the process in its first line and its state in the eighth (`pg_ctl` reads the same).
fn says_ready(postmaster_pid: &str, pid: u32) -> bool {
    let mut lines = postmaster_pid.lines().map(str::trim);
    lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log.join(initdb::LOG_FILE)).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ready_server_of_ours_counts_as_ready() {
        let file = "42\n/data\n1700000000\n20123\n\n127.0.0.1\n   123  0\nready   \n";
        assert!(says_ready(file, 42));
        assert!(!says_ready(file, 43), "another process");
        assert!(!says_ready(&file.replace("ready", "starting"), 42));
        assert!(!says_ready("42\n/data\n", 42), "half written");
    }
}
