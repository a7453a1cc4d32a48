//! A whole Freehold on servers of its own: control database, one tenant server, Redis, one replica, one operator.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use freehold::{
    Product,
    cli::dev::environment::{self, Environment},
    error::Error,
    operations::bootstrap,
    servers::{AdminUrl, Connector, ServerAdmin},
    telemetry::metrics::Metrics,
    types::{Clock, Random},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::OnceCell};

use super::{
    PASSWORD,
    actors::Operator,
    clusters,
    folder::Folder,
    pool::{Own, Sort},
    postgres,
    replica::Replica,
    sql::Database,
    unique,
};

/// Everything that outlives a test runs here.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// The recorder of this process; all replicas in it write to it.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::install().unwrap());

/// The token that scrapers of all replicas here have to bring.
pub(crate) const METRICS_TOKEN: &str = "metrics-token-of-the-tests";

/// The first operator's address.
pub(crate) const OPERATOR_EMAIL: &str = "operator@example.com";

/// A Freehold with its servers.
pub(crate) struct Fleet {
    /// The replica that tests talk to unless they ask for another.
    pub(crate) replica: Replica,
    /// The name of the server that takes tenants.
    pub(crate) server: String,
    environment: Environment,
    settings: BTreeMap<String, String>,
    api_key: SecretString,
    // Last: freed when all else has been dropped.
    _folder: Folder,
}

/// The Freehold that tests share. Whoever uses it looks only at tenants of their own.
pub(crate) async fn shared() -> &'static Fleet {
    static SHARED: OnceCell<Fleet> = OnceCell::const_new();
    SHARED.get_or_init(|| start("shared", &[])).await
}

/// A Freehold that nobody else uses meanwhile. What earlier tests did there stays done.
pub(crate) async fn alone() -> Own {
    static ALONE: Sort = Sort::new("alone", 2, &[]);
    ALONE.own().await
}

/// As [`alone`], for tests of what there is to choose among several servers.
pub(crate) async fn several() -> Own {
    static SEVERAL: Sort = Sort::new("several", 1, &[]);
    SEVERAL.own().await
}

/// As [`alone`], where nothing is done that nobody asks for: the replica's janitor is off.
pub(crate) async fn undisturbed() -> Own {
    static UNDISTURBED: Sort = Sort::new("undisturbed", 1, &[("FREEHOLD_JANITOR", "false")]);
    UNDISTURBED.own().await
}

/// As [`alone`], for tests of rollouts, which take all tenants of a fleet further.
pub(crate) async fn rolling() -> Own {
    static ROLLING: Sort = Sort::new("rolling", 2, &[]);
    ROLLING.own().await
}

/// No engine, and no keeper of warm databases in the engines that tests bring.
const IDLE_SETTINGS: [(&str, &str); 3] =
    [("FREEHOLD_OPERATION_CONCURRENCY", "0"), ("FREEHOLD_WARM_MIN", "0"), ("FREEHOLD_WARM_MAX", "0")];

/// A Freehold whose replica leaves operations to others: what is asked for waits until a test brings an engine.
pub(crate) async fn idle() -> Own {
    static IDLE: Sort = Sort::new("idle", 2, &IDLE_SETTINGS);
    let fleet = IDLE.own().await;
    // As many as demand asks for, which is none by these settings; those that a test makes are left alone.
    fleet.control().run("UPDATE servers SET warm_target = NULL").await;
    fleet
}

/// A new one.
pub(super) async fn start(name: &str, changes: &'static [(&'static str, &'static str)]) -> Fleet {
    log_to_memory();
    // A second one is refused, and was the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = Folder::new(name);
    clusters::lay_out(folder.path()).await;
    RUNTIME.spawn(Fleet::start_in(folder, changes)).await.unwrap()
}

impl Fleet {
    async fn start_in(folder: Folder, changes: &[(&str, &str)]) -> Self {
        let environment = environment::start(folder.path(), false).await.unwrap();
        let mut settings = settings(&environment);
        settings.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let replica = Replica::make(&settings, Clock::default()).await;
        let api_key = bootstrapped(&environment, &replica).await.unwrap();
        let replica = replica.serve().await;
        let server = environment.server.name().to_owned();
        let fleet = Self { replica, server, environment, settings, api_key, _folder: folder };
        postgres::version(&fleet.on_server("postgres").connect().await.unwrap()).await;
        fleet.register_server().await;
        fleet
    }

    /// Why `product` cannot bootstrap a Freehold, and how many migrations it leaves published; and that the example can
    /// do so where that was tried.
    pub(crate) async fn failed_bootstrap(product: Product) -> (Error, i64) {
        log_to_memory();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = Folder::new("refused");
        clusters::lay_out(folder.path()).await;
        let tried = async move {
            let environment = environment::start(folder.path(), false).await.unwrap();
            let settings = settings(&environment);
            let replica = Replica::make_of(product, &settings, Clock::default()).await;
            let error = bootstrapped(&environment, &replica).await.unwrap_err();
            let control = Database::new(&environment.control.superuser_url().unwrap()).named("freehold_control");
            let published = control.value("SELECT count(*) FROM migrations").await;
            bootstrapped(&environment, &Replica::make(&settings, Clock::default()).await).await.unwrap();
            (error, published)
        };
        RUNTIME.spawn(tried).await.unwrap()
    }

    /// One more replica, of another product. Under a name of its own: two of one name take each other for what they were
    /// before.
    pub(crate) async fn replica_of(&self, product: Product) -> Replica {
        let settings = self.settings_with(&[("FREEHOLD_REPLICA", &unique("replica"))]);
        let made = async move { Replica::make_of(product, &settings, Clock::default()).await.serve().await };
        RUNTIME.spawn(made).await.unwrap()
    }

    /// Why a replica of this product refuses to serve.
    pub(crate) async fn refusal_of(&self, product: Product) -> Error {
        let settings = self.settings_with(&[]);
        let made = async move { Replica::make_of(product, &settings, Clock::default()).await.refused().await };
        RUNTIME.spawn(made).await.unwrap()
    }

    async fn register_server(&self) {
        let url = self.environment.server_admin_url().unwrap();
        // Tests that count databases must not see those of the warm pool come and go.
        let body = json!({ "name": self.server, "admin_url": url.expose_secret(), "region": "here", "warm_target": 0 });
        let answer = self.operator().post_patiently("/platform/v1/servers", &body, &unique("server")).await;
        answer.unwrap().expect(201);
    }

    /// The first operator, with the API key that `bootstrap` gave them.
    pub(crate) fn operator(&self) -> Operator {
        self.replica.operator(&self.api_key)
    }

    /// The first operator, signed in.
    pub(crate) async fn signed_in_operator(&self) -> Operator {
        let anonymous = self.replica.admin_anonymous();
        let tokens = anonymous.login(OPERATOR_EMAIL, PASSWORD).await.expect(200);
        self.replica.operator(&tokens["access_token"].as_str().unwrap().into())
    }

    /// Somebody who signs in at the platform tenant with the role `role`.
    pub(crate) async fn operator_with_role(&self, role: &str) -> Operator {
        let email = format!("{}@example.com", unique(role));
        let database = self.platform_database().await;
        database.add_user(OPERATOR_EMAIL, &email, role).await;
        let tokens = self.replica.admin_anonymous().login(&email, PASSWORD).await.expect(200);
        self.replica.operator(&tokens["access_token"].as_str().unwrap().into())
    }

    /// One more replica beside the first, with some settings changed and a clock of its own.
    pub(crate) async fn another_replica(&self, changes: &[(&str, &str)], clock: Clock) -> Replica {
        let settings = self.settings_with(changes);
        let made = async move { Replica::make(&settings, clock).await.serve().await };
        RUNTIME.spawn(made).await.unwrap()
    }

    /// Fails unless `fsck` finds that everything agrees, once nothing is under way any more.
    pub(crate) async fn assert_clean(&self) {
        for _ in 0..60 {
            let answer = self.operator().get("/platform/v1/fsck").await;
            // Told to come back, on a machine that has much to do, one comes back.
            let report = if answer.status() == 503 { Value::Null } else { answer.expect(200) };
            // So one does where the report says that it could not look at something.
            let unread =
                |finding: &Value| finding["class"].as_str().is_some_and(|class| class.starts_with("unreachable_"));
            let findings = report["findings"].as_array();
            let is_partial = findings.is_some_and(|all| !all.is_empty() && all.iter().all(unread));
            if !report.is_null() && report["state"] != "busy" && !is_partial {
                assert_eq!(report["state"], "clean", "{report}");
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("something is under way, or cannot be looked at, for ever");
    }

    /// What a scraper gets from the first replica.
    pub(crate) async fn metrics(&self) -> String {
        let answer = self.replica.operator(&METRICS_TOKEN.into()).get("/metrics").await;
        assert_eq!(answer.status(), 200);
        answer.text().to_owned()
    }

    /// The control database, with a superuser's eyes.
    pub(crate) fn control(&self) -> Database {
        Database::new(&self.environment.control.superuser_url().unwrap()).named("freehold_control")
    }

    /// Where the tenant server keeps its data: to stop and start it.
    pub(crate) fn server_data(&self) -> PathBuf {
        self.environment.server.data_dir()
    }

    /// Any database of the tenant server, with a superuser's eyes.
    pub(crate) fn on_server(&self, database: &str) -> Database {
        Database::new(&self.environment.server.superuser_url().unwrap()).named(database)
    }

    /// A session with the tenant server's administrative credential, as operations have it.
    pub(crate) async fn server_admin(&self) -> ServerAdmin {
        administer(&self.environment.server_admin_url().unwrap()).await
    }

    /// The same on the platform server.
    pub(crate) async fn platform_admin(&self) -> ServerAdmin {
        administer(&self.environment.platform_admin_url().unwrap()).await
    }

    /// What the administrative role of the tenant server was made with.
    pub(crate) fn server_admin_password(&self) -> SecretString {
        AdminUrl::parse(&self.environment.server_admin_url().unwrap()).unwrap().credentials.password
    }

    /// What the superuser of the tenant server logs in with.
    pub(crate) fn superuser_password(&self) -> String {
        let url = AdminUrl::parse(&self.environment.server.superuser_url().unwrap()).unwrap();
        url.credentials.password.expose_secret().to_owned()
    }

    /// Any database of the platform server, with a superuser's eyes.
    pub(crate) fn on_platform_server(&self, database: &str) -> Database {
        Database::new(&self.environment.control.superuser_url().unwrap()).named(database)
    }

    /// The platform tenant's database.
    pub(crate) async fn platform_database(&self) -> Database {
        let sql = "SELECT 'tenant_' || replace(id::text, '-', '') FROM tenants WHERE kind = 'platform'";
        let name: String = self.control().value(sql).await;
        self.on_platform_server(&name)
    }

    /// The settings of the first replica, some of them changed.
    pub(crate) fn settings_with(&self, changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut settings = self.settings.clone();
        settings.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        settings
    }

    /// The administrative access to a server that takes no tenants yet: the platform's, which may be registered a
    /// second time for them. Under another name, so that its usual one is free for tests of what is refused.
    pub(crate) fn second_server_url(&self) -> String {
        self.environment.platform_admin_url().unwrap().expose_secret().replace("127.0.0.1", "localhost")
    }

    /// Where programs of a test's own may run.
    #[cfg(feature = "crash-points")]
    pub(crate) fn folder(&self) -> &Path {
        self.environment.folder()
    }

    /// What the control database's server says of deadlocks, with the statements of both sides.
    pub(crate) fn deadlocks(&self) -> String {
        let log = std::fs::read_to_string(self.environment.control.log_file()).unwrap();
        let found = log.match_indices("deadlock detected");
        found.map(|(place, _)| log[place..].lines().take(12).collect::<Vec<_>>().join("\n")).collect()
    }

    /// The log of the tenant server.
    #[cfg(feature = "crash-points")]
    pub(crate) fn server_log(&self) -> PathBuf {
        self.environment.server.log_file()
    }

    /// The administrative access to the server that takes tenants.
    pub(crate) fn server_admin_url(&self) -> SecretString {
        self.environment.server_admin_url().unwrap()
    }

    /// The setting of this name, as the replica has it.
    pub(crate) fn setting(&self, name: &str) -> &str {
        &self.settings[name]
    }
}

/// Bootstraps with the parts of `replica`, and answers with the first operator's API key.
async fn bootstrapped(environment: &Environment, replica: &Replica) -> Result<SecretString, Error> {
    replica.app().migrate_control().await?;
    let api_key = bootstrap::new_key(&Clock::default(), Random);
    let request = bootstrap::Request {
        server_url: environment.platform_admin_url().unwrap(),
        email: OPERATOR_EMAIL.parse().unwrap(),
        name: None,
        password: PASSWORD.into(),
        api_key: api_key.clone(),
    };
    bootstrap::run(replica.app().operations(), request).await?;
    Ok(api_key)
}

fn settings(environment: &Environment) -> BTreeMap<String, String> {
    let control = environment.control_url().unwrap();
    let redis = environment.redis.as_ref().expect("these tests need a redis-server").url().unwrap();
    let objects = environment.folder().join("objects").display().to_string();
    let mut settings = BTreeMap::new();
    // The clusters' own release, where several are installed.
    if let Some(folder) = &environment.postgres_bin {
        settings.insert("FREEHOLD_POSTGRES_BIN".to_owned(), folder.display().to_string());
    }
    let key = |id: &str| format!("{id}:{}", BASE64_STANDARD.encode(Random.bytes::<32>()));
    let keys = [key("k1"), key("k0")].join(",");
    let pairs = [
        ("FREEHOLD_ARCHIVE_URL", objects.as_str()),
        ("FREEHOLD_CONTROL_URL", control.expose_secret()),
        ("FREEHOLD_REDIS_URL", redis.expose_secret()),
        ("FREEHOLD_KEY_ENCRYPTION_KEYS", &keys),
        ("FREEHOLD_METRICS_TOKEN", METRICS_TOKEN),
        ("FREEHOLD_PUBLIC_LISTEN", "127.0.0.1:0"),
        ("FREEHOLD_ADMIN_LISTEN", "127.0.0.1:0"),
        ("FREEHOLD_PATH_PREFIX", "true"),
        ("FREEHOLD_PASSWORD_HASH_CONCURRENCY", "2"),
        // Nothing is to come and go that no test asks for.
        ("FREEHOLD_FSCK_INTERVAL_SECONDS", "0"),
        ("FREEHOLD_ISOLATION_INTERVAL_SECONDS", "0"),
        ("FREEHOLD_DRIFT_INTERVAL_SECONDS", "0"),
        // Tests of the limit set their own.
        ("FREEHOLD_DELETIONS_PER_HOUR", "1000000"),
        // Nobody waits here for what is away to come back.
        #[cfg(feature = "crash-points")]
        ("FREEHOLD_TEST_PACE_MILLIS", "50"),
        // Hundreds of tenants pass by; the server has 200 sessions.
        ("FREEHOLD_TENANT_POOL_IDLE_SECONDS", "5"),
    ];
    settings.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    settings
}

/// All that Freehold logged so far in this process, at level debug, as its JSON lines.
pub(crate) fn logged() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned()
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn log_to_memory() {
    struct Memory;
    impl std::io::Write for Memory {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            LOG.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false);
    let filter = "debug,hyper=info,h2=info,rustls=info,tokio_postgres=info,sqlx=info";
    // Both fleets ask for it; the second is refused.
    let _ = subscriber.with_writer(|| Memory).with_env_filter(filter).try_init();
}

async fn administer(url: &SecretString) -> ServerAdmin {
    let url = AdminUrl::parse(url).unwrap();
    let connector = Connector::new(None).unwrap();
    ServerAdmin::connect(&connector, &url.address, &url.database, &url.credentials, "test").await.unwrap()
}
