//! The pool of connections to the control database. It is small, every wait has a time limit, and a connection never
//! returns to it within a transaction.

use std::{
    ops::{Deref, DerefMut},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection, PgConnection, PgPool, Postgres, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::error::{Error, Result};

/// How long a request waits for a connection (promises.md, table of waits).
const CHECKOUT: Duration = Duration::from_secs(1);
/// How long a connection may take to open. Longer than anybody waits for it: see [`ControlDb::acquire`].
const OPENING: Duration = Duration::from_secs(5);
/// How long a connection that has answered counts as one that does: it is asked when it is given back, and again before
/// its next use only if that comes later.
const FRESH: Duration = Duration::from_millis(100);
/// How many statements are kept prepared on each connection: more than there are in the program.
const STATEMENTS: usize = 512;
/// How many times as long a change waits.
const CHANGE_PATIENCE: u32 = 5;
/// One connection in so many may be opened though nobody waits for it any more.
const UNATTENDED_SHARE: u32 = 2;
/// One connection in so many may be kept between the statements of one task.
const KEPT_SHARE: u32 = 4;

/// Where the control database is and who asks.
#[derive(Debug)]
pub struct Settings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The role that owns the database.
    pub role: String,
    /// Its password.
    pub password: SecretString,
    /// The database's name.
    pub database: String,
    /// Whether to speak TLS, checking chain and host name. The alternative is plaintext.
    pub verify_tls: bool,
    /// Authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The most connections at once.
    pub max_connections: u32,
    /// Shown in `pg_stat_activity` and in PostgreSQL's log.
    pub application_name: String,
}

/// The pool of connections to the control database. Clones share it.
#[derive(Clone, Debug)]
pub struct ControlDb {
    pool: PgPool,
    /// How many more may be waited for by nobody.
    unattended: Arc<Semaphore>,
    /// How many more connections may be kept.
    keepable: Arc<Semaphore>,
}

impl ControlDb {
    /// A pool that connects when it is first used: Freehold starts, and says what is wrong, while the control
    /// database is still away.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            // Kept open once they are.
            .min_connections(settings.max_connections / 2)
            .acquire_timeout(OPENING)
            .idle_timeout(Duration::from_mins(1))
            .max_lifetime(Duration::from_mins(30))
            .test_before_acquire(false)
            .before_acquire(|connection, known| {
                Box::pin(async move {
                    if is_outdated(known.age) {
                        return Ok(false);
                    }
                    if known.idle_for > FRESH {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options(settings));
        let share = |part| Arc::new(Semaphore::new(usize::try_from(settings.max_connections / part).unwrap_or(1)));
        Self { pool, unattended: share(UNATTENDED_SHARE), keepable: share(KEPT_SHARE) }
    }

    /// A connection for single statements.
    ///
    /// # Errors
    /// `control_database_unavailable` when there is none after [`CHECKOUT`].
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>> {
        Ok(self.checkout().await?)
    }

    /// What is late goes on while nobody waits for it, and the pool has the connection then. Else a server that needs
    /// more than [`CHECKOUT`] to accept one, as a busy one may, would be asked for ever, and each time in vain.
    async fn checkout(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        let mut acquiring = Box::pin(self.pool.acquire());
        if let Ok(acquired) = tokio::time::timeout(CHECKOUT, &mut acquiring).await {
            return acquired;
        }
        if let Ok(permit) = self.unattended.clone().try_acquire_owned() {
            tokio::spawn(async move {
                drop(acquiring.await);
                drop(permit);
            });
        }
        Err(sqlx::Error::PoolTimedOut)
    }

    /// Connections for one task that writes often: the same one each time, if it may keep one.
    #[must_use]
    pub fn keep(&self) -> Keeper {
        Keeper { db: self.clone(), permit: self.keepable.clone().try_acquire_owned().ok(), kept: None }
    }

    /// A connection for a change, or for telling of one that has been made. Waits longer than for a read: a burst of
    /// changes is served in turn, not refused.
    pub async fn acquire_for_change(&self) -> Result<PoolConnection<Postgres>> {
        for _ in 1..CHANGE_PATIENCE {
            match self.checkout().await {
                Err(sqlx::Error::PoolTimedOut) => {}
                acquired => return Ok(acquired?),
            }
        }
        self.acquire().await
    }

    /// A transaction; dropped without a commit it is rolled back.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        begin(self.acquire_for_change().await?).await
    }

    /// Whether the control database answers, within a second.
    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.acquire().await?;
        Ok(connection.ping().await?)
    }

    /// Writes how many connections are open and idle to the metrics.
    pub fn record_gauges(&self) {
        metrics::gauge!("freehold_control_connections").set(f64::from(self.pool.size()));
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        metrics::gauge!("freehold_control_connections_idle").set(f64::from(idle));
    }

    /// Closes the pool and waits for its connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }
}

/// When a statement was last refused because the control database had been migrated since it was prepared.
static CHANGED: Mutex<Option<Instant>> = Mutex::new(None);

/// Called when a statement was refused because the control database has been migrated. All connections that are open
/// now are closed before their next use, since they have prepared the same statements. An error does not say whose pool
/// it comes from, so this holds for all pools of the process, which usually has one.
pub(super) fn schema_has_changed() {
    *CHANGED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

/// Whether a connection of this age is older than the last change of the schema that was seen.
fn is_outdated(age: Duration) -> bool {
    let changed = *CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    changed.is_some_and(|changed| changed.elapsed() <= age)
}

/// Keeps one connection for many statements of one task: to give one back and to take it again costs a round trip each
/// time. No more than a fixed share of the pool is kept like that; whoever comes later takes one each time.
#[derive(Debug)]
pub struct Keeper {
    db: ControlDb,
    permit: Option<OwnedSemaphorePermit>,
    kept: Option<(PoolConnection<Postgres>, Instant)>,
}

impl Keeper {
    /// A connection for single statements. One that was not used for a moment is given back first: it may not answer
    /// any more, and the pool finds that out.
    ///
    /// # Errors
    /// As [`ControlDb::acquire`].
    pub async fn connection(&mut self) -> Result<Lent<'_>> {
        if self.permit.is_none() {
            return Ok(Lent::Once(self.db.acquire().await?));
        }
        self.kept.take_if(|(_, used)| used.elapsed() > FRESH || is_outdated(used.elapsed()));
        let connection = match self.kept.take() {
            Some((connection, _)) => connection,
            None => self.db.acquire().await?,
        };
        let (connection, _) = self.kept.insert((connection, Instant::now()));
        Ok(Lent::Kept(connection))
    }

    /// Gives back what is kept: nothing will be asked for a while.
    pub fn rest(&mut self) {
        self.kept = None;
    }
}

/// A connection for one or a few statements.
#[derive(Debug)]
pub enum Lent<'k> {
    /// It stays with its keeper.
    Kept(&'k mut PgConnection),
    /// It goes back to the pool.
    Once(PoolConnection<Postgres>),
}

impl Deref for Lent<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Kept(connection) => connection,
            Self::Once(connection) => connection,
        }
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Kept(connection) => connection,
            Self::Once(connection) => connection,
        }
    }
}

/// What `work` answers, if it does so in time: a connection that has gone silent, as those of a machine that is no
/// more, must not keep who waits for it from trying another.
///
/// # Errors
/// `control_database_unavailable` after `at_most`; else those of `work`.
pub async fn bounded<T>(at_most: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Err(Error::unavailable("control_database_unavailable", "the control database is silent", None));
    tokio::time::timeout(at_most, work).await.unwrap_or_else(late)
}

fn options(settings: &Settings) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&settings.host)
        .port(settings.port)
        .username(&settings.role)
        .password(settings.password.expose_secret())
        .database(&settings.database)
        .ssl_mode(if settings.verify_tls { PgSslMode::VerifyFull } else { PgSslMode::Disable })
        .application_name(&settings.application_name)
        .statement_cache_capacity(STATEMENTS)
        .options([("statement_timeout", "5s"), ("lock_timeout", "3s"), ("idle_in_transaction_session_timeout", "10s")]);
    match &settings.ca_file {
        Some(file) => options.ssl_root_cert(file),
        None => options,
    }
}

/// Begins a transaction in a task of its own: whoever asks may give up at any moment, and sqlx up to 0.9.0 would then
/// return a connection to the pool inside an open transaction (transact-rs/sqlx #4393). The task brings the beginning
/// to its end, and what nobody waits for any more is rolled back.
async fn begin(connection: PoolConnection<Postgres>) -> Result<Transaction<'static, Postgres>> {
    let begun = tokio::spawn(Transaction::begin(connection, None)).await;
    Ok(begun.map_err(Error::internal)??)
}

/// Says what the metrics of this module mean.
pub fn describe_metrics() {
    metrics::describe_gauge!("freehold_control_connections", "connections to the control database");
    metrics::describe_gauge!("freehold_control_connections_idle", "connections to the control database not in use");
}
