//! The composition root: a [`Config`] and a [`Product`] become a running replica.
//!
//! [`App::new`] puts the parts together and connects nowhere. [`App::serve`] opens the listeners at once, so
//! that probes are answered, and brings the rest up behind them: the control database's schema, the program's
//! own migrations, the registry, the engine. What is not reachable yet is tried again; readiness says what is
//! missing. Stopping goes the other way: no new requests and operations, accepted ones are finished or handed
//! over, connections are closed. Nothing is decided here: each part knows its own rules.

mod product;
mod schedules;
mod settings;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
pub use product::{Answer, DemoTenant, Product, Seed, Unfit};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    archives::Store,
    background::{self, Background},
    config::{Config, Environment},
    control::{self, ControlDb, listener::Signals},
    error::{Error, Result},
    http::{self, AppState, Readiness, Shared, listener::Bounds, router},
    identity::{self, Identity},
    jobs::{self, Desk},
    limits::{self, Attempts},
    migrations::{self, MigrationSet},
    operations::{
        Context, Memory,
        checks::schedule,
        engine,
        fleet::{heartbeat, key_encryption, warm},
        janitor, kinds,
        schema::publish,
    },
    redis::{self, Redis},
    rollouts,
    servers::{Connection, Connector, dump::DumpTools},
    telemetry::{meters::Meters, metrics::Metrics},
    tenancy::{self, Tenancy},
    types::{Clock, Random},
};

/// Between attempts to bring up what was not reachable.
const STARTUP_PAUSE: Duration = Duration::from_secs(1);
/// Between attempts to publish the program's migrations while the platform server is away.
const PUBLICATION_PAUSE: Duration = Duration::from_secs(10);
/// How often gauges that are read rather than counted are refreshed.
const GAUGES: Duration = Duration::from_secs(5);
/// How long accepted requests may take to end, then background work, then connections: 30 s together.
const DRAIN_REQUESTS: Duration = Duration::from_secs(20);
const DRAIN_BACKGROUND: Duration = Duration::from_secs(8);
const CLOSE: Duration = Duration::from_secs(2);

/// A replica, put together. Clones share everything.
#[derive(Clone)]
pub struct App {
    config: Arc<Config>,
    product: Product,
    state: AppState,
    connector: Connector,
    redis: Option<Redis>,
    signals: Signals,
    desk: Desk,
    /// Whether migrations of the program's are not published because they could not be tried, or do not apply.
    holds_back: Arc<AtomicBool>,
}

/// What became of an attempt to publish the program's migrations.
enum Publication {
    /// Another attempt would end alike.
    Settled,
    /// What is needed for it is away.
    Waits,
}

/// The sockets of a replica.
#[derive(Debug)]
pub struct Sockets {
    /// Tenants and their users.
    pub public: TcpListener,
    /// Operators, scrapers and probes.
    pub admin: TcpListener,
}

impl Sockets {
    /// Opens both sockets, so that a taken port is said before anything else happens.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let open = async |address: std::net::SocketAddr, what: &str| {
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} ({what})"))
        };
        Ok(Self {
            public: open(config.http.public_listen, "FREEHOLD_PUBLIC_LISTEN").await?,
            admin: open(config.http.admin_listen, "FREEHOLD_ADMIN_LISTEN").await?,
        })
    }
}

impl App {
    /// Puts a replica together; connects nowhere. Must run within a tokio runtime.
    ///
    /// # Errors
    /// [`Unfit`], and what is wrong with the configuration.
    pub fn new(config: Config, product: Product, metrics: Metrics, clock: Clock) -> anyhow::Result<Self> {
        let product::Checked { permissions, migrations, left_behind, oldest_version } = product.checked()?;
        describe_metrics();
        let connector = Connector::new(config.control.ca_file.as_deref())?;
        let db = ControlDb::new(&settings::control_settings(&config)?);
        let keys = Arc::new(settings::key_ring(&config)?);
        let pools = settings::pool_settings(&config);
        let tenancy = Tenancy::new(db.clone(), Arc::clone(&keys), connector.clone(), pools);
        let redis = config.redis_url.as_ref().map(Redis::connect).transpose()?;
        let identity = Arc::new(Identity::new(
            identity::Dependencies {
                db: db.clone(),
                key_ring: Arc::clone(&keys),
                tenancy: tenancy.clone(),
                clock: clock.clone(),
                random: Random,
                attempts: Attempts::new(redis.clone(), clock.clone()),
                permissions,
                letters: settings::letters(&config)?,
            },
            settings::identity_settings(&config, product.name),
        ));
        let signals = Signals::default();
        let desk = settings::desk(&config, &db, &keys, &signals);
        let operations = Context {
            db,
            keys,
            connector: connector.clone(),
            tenancy: tenancy.clone(),
            identity: identity.clone(),
            signals: signals.clone(),
            archives: config.archives.store.as_ref().map(Store::open).transpose()?,
            dump_tools: DumpTools::new(config.archives.postgres_bin.clone(), config.control.ca_file.clone()),
            memory: Memory::default(),
            clock: clock.clone(),
            random: Random,
            replica: config.replica.clone(),
            invitation: config.identity.invitation,
            redis: redis.clone(),
            settings: settings::operations_settings(&config),
            migrations: Arc::new(migrations),
            left_behind: identity::LEFT_BEHIND.into_iter().chain(left_behind).collect(),
            plaintext: config.environment == Environment::Development,
        };
        let state = AppState::from(Shared {
            readiness: Readiness::new(clock.clone()),
            clock,
            random: Random,
            metrics,
            meters: Meters::default(),
            settings: Arc::new(settings::http_settings(&config, oldest_version)?),
            tasks: TaskTracker::new(),
            rules: Arc::new(settings::rules(&config)),
            tenancy,
            identity,
            operations,
            public_url: settings::public_url(&config),
            streams: http::Streams::default(),
        });
        let holds_back = Arc::default();
        Ok(Self { config: Arc::new(config), product, state, connector, redis, signals, desk, holds_back })
    }

    /// What operations work with: for commands that work without a server.
    #[must_use]
    pub fn operations(&self) -> &Context {
        &self.state.operations
    }

    /// Applies the control database's migrations, on a connection of their own and under a lock: any number of
    /// replicas may do so at once.
    pub async fn migrate_control(&self) -> Result<migrations::Report> {
        let url = settings::control_url(&self.config)?;
        let name = format!("freehold:{}:migrate", self.config.replica);
        let mut connection: Connection =
            self.connector.connect(&url.address, &url.database, &url.credentials, &name).await?;
        let report = migrations::apply_control(&mut connection, &MigrationSet::embedded_control()?).await?;
        connection.close().await;
        Ok(report)
    }

    /// Serves until `stop`; answers once accepted requests have ended and operations were handed over.
    pub async fn serve(&self, sockets: Sockets, stop: CancellationToken) -> Result<()> {
        let failed = CancellationToken::new();
        let streams = self.state.streams.stop.clone();
        let stopping = stop.clone();
        tokio::spawn(async move {
            stopping.cancelled().await;
            streams.cancel();
        });
        let background = Background::until(stop.clone());
        self.watch_dependencies(&stop);
        let metrics = self.state.metrics.clone();
        background.keep("metrics", move |stop| metrics.clone().upkeep(stop));
        let starting = background.spawn({
            let (app, background, failed) = (self.clone(), background.clone(), failed.clone());
            async move {
                let outcome = app.bring_up(&background).await;
                if outcome.is_err() {
                    failed.cancel();
                    background.stop().cancel();
                }
                outcome
            }
        });
        let bounds = Bounds {
            max_connections: usize::try_from(self.config.http.max_connections).unwrap_or(usize::MAX),
            drain: DRAIN_REQUESTS,
            ..Bounds::default()
        };
        let about = (self.product.name, self.product.version);
        let public = router::public(&self.state, about, self.product.routes.clone());
        let admin = router::admin(&self.state);
        tracing::info!(
            http.public = %self.config.http.public_listen,
            http.admin = %self.config.http.admin_listen,
            replica = self.config.replica,
            "listening"
        );
        tokio::join!(
            http::listener::serve(sockets.public, public, bounds, self.state.tasks.clone(), stop.clone()),
            http::listener::serve(sockets.admin, admin, bounds, self.state.tasks.clone(), stop.clone()),
        );
        let outcome = if failed.is_cancelled() { starting.await.map_err(Error::internal)? } else { Ok(()) };
        if tokio::time::timeout(DRAIN_BACKGROUND, background.ended()).await.is_err() {
            tracing::warn!("background work did not end in time and is cut");
        }
        if tokio::time::timeout(CLOSE, self.state.operations.db.close()).await.is_err() {
            tracing::warn!("connections to the control database did not close in time and are cut");
        }
        tracing::info!("stopped");
        outcome
    }

    /// Brings up what needs the control database; waits for it as long as it takes.
    async fn bring_up(&self, background: &Background) -> Result<()> {
        loop {
            match background.stop().run_until_cancelled(self.migrate_control()).await {
                None => return Ok(()),
                Some(Ok(_)) => break,
                Some(Err(error)) if error.is_transient() => {
                    tracing::warn!(error = error.chain(), "waiting for the control database");
                    tokio::time::sleep(STARTUP_PAUSE).await;
                }
                Some(Err(error)) => return Err(error),
            }
        }
        match background.stop().run_until_cancelled(self.publish()).await {
            None => return Ok(()),
            Some(Err(diverged)) => return Err(diverged),
            Some(Ok(Publication::Waits)) => self.keep_publishing(background),
            Some(Ok(Publication::Settled)) => {}
        }
        self.keep_going(background);
        Ok(())
    }

    /// Publishes the program's own migrations. The replica serves even if it cannot: what is published is good.
    ///
    /// # Errors
    /// `migrations_diverged`: the program was not made for what is published.
    async fn publish(&self) -> Result<Publication> {
        let outcome = publish::publish_embedded(&self.state.operations).await;
        self.holds_back.store(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Ok(()) => Ok(Publication::Settled),
            Err(error) if error.is_transient() => {
                tracing::warn!(error = error.chain(), "the program's migrations cannot be tried now");
                Ok(Publication::Waits)
            }
            Err(error) => {
                tracing::error!(error = error.chain(), "the program's migrations are not published");
                if error.code() == publish::DIVERGED { Err(error) } else { Ok(Publication::Settled) }
            }
        }
    }

    fn keep_publishing(&self, background: &Background) {
        let app = self.clone();
        background.keep("publication", move |stop| {
            let app = app.clone();
            async move {
                while stop.run_until_cancelled(tokio::time::sleep(PUBLICATION_PAUSE)).await.is_some() {
                    if !matches!(stop.run_until_cancelled(app.publish()).await, Some(Ok(Publication::Waits))) {
                        return;
                    }
                }
            }
        });
    }

    /// Starts what goes on until the replica stops.
    fn keep_going(&self, background: &Background) {
        let (signals, db) = (self.signals.clone(), self.state.operations.db.clone());
        background.keep("signals", move |stop| signals.clone().run(db.clone(), stop));
        self.state.tenancy.spawn(&self.signals, background);
        engine::spawn(&self.state.operations, kinds::ALL, self.config.operations.concurrency, background);
        rollouts::worker::spawn(&self.state.operations, self.config.operations.concurrency, background);
        jobs::schedule::spawn(&self.desk, schedules::all(&self.state.operations, &self.config), background);
        jobs::spawn(
            &self.desk,
            identity::letters::kinds(&self.state.identity),
            self.config.jobs.concurrency,
            background,
        );
        let (ctx, pool_size) = (self.state.operations.clone(), self.config.tenancy.pool_size);
        let migrates = self.config.operations.concurrency > 0;
        let oldest = self.state.settings.oldest_versions.product;
        background.keep("heartbeat", move |stop| heartbeat::run(ctx.clone(), pool_size, migrates, oldest, stop));
        if self.config.operations.janitor {
            let identity = Arc::clone(&self.state.identity);
            background.keep("audit_chains", move |stop| identity::audit::tend(Arc::clone(&identity), stop));
        }
        let ctx = self.state.operations.clone();
        background.keep("key_rings", move |stop| key_encryption::announce(ctx.clone(), stop));
        if self.config.operations.rollout_on_start {
            let ctx = self.state.operations.clone();
            background.spawn(async move { rollouts::start::on_start(&ctx).await });
        }
        let app = self.clone();
        background.keep("gauges", move |stop| app.clone().gauges(stop));
    }

    fn watch_dependencies(&self, stop: &CancellationToken) {
        let readiness = &self.state.readiness;
        let db = self.state.operations.db.clone();
        // Known tenants are served without the control database, so it only degrades; the registry decides.
        readiness.watch("control_database", false, move || ping_control(db.clone()), stop.clone());
        let tenancy = self.state.tenancy.clone();
        readiness.watch("tenant_registry", true, move || std::future::ready(judge_registry(&tenancy)), stop.clone());
        let holds_back = Arc::clone(&self.holds_back);
        readiness.watch("migrations", false, move || std::future::ready(judge_publication(&holds_back)), stop.clone());
        if let Some(redis) = self.redis.clone() {
            readiness.watch("redis", false, move || ping_redis(redis.clone()), stop.clone());
        }
    }

    async fn gauges(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(GAUGES);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.state.tenancy.record_gauges();
            self.state.operations.db.record_gauges();
            warm::record_gauges(&self.state.operations).await;
            rollouts::progress::record_gauges(&self.state.operations).await;
            schedule::record_gauges(&self.state.operations).await;
            jobs::record_gauges(&self.desk).await;
        }
    }
}

fn judge_publication(holds_back: &AtomicBool) -> Result<()> {
    if holds_back.load(Ordering::Relaxed) {
        let detail = "the program's migrations are not published: the log says why";
        return Err(Error::unavailable("migrations_unpublished", detail, None));
    }
    Ok(())
}

async fn ping_control(db: ControlDb) -> Result<()> {
    db.ping().await
}

async fn ping_redis(redis: Redis) -> Result<()> {
    redis.ping().await
}

fn describe_metrics() {
    background::describe_metrics();
    schedule::describe_metrics();
    control::describe_metrics();
    limits::describe_metrics();
    redis::describe_metrics();
    identity::describe_metrics();
    tenancy::describe_metrics();
    engine::describe_metrics();
    janitor::describe_metrics();
    jobs::describe_metrics();
    warm::describe_metrics();
    rollouts::describe_metrics();
}

fn judge_registry(tenancy: &Tenancy) -> Result<()> {
    if tenancy.is_ready() {
        return Ok(());
    }
    Err(Error::unavailable("registry_unavailable", "the tenants are not known, or no longer for certain", None))
}
