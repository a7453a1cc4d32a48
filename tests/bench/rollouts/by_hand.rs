//! The tight loop: connect, add a column, commit, describe the schema. Its login acts as the owner from its beginning.

use std::time::Duration;

use anyhow::Context;
use freehold::{
    migrations::Schema,
    servers::{OWNER_ROLE, verifier},
    types::Random,
};
use futures::{StreamExt, TryStreamExt, stream};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tokio_postgres::{Client, Config, NoTls};

use crate::subject::{Subject, connect};

/// The login of the loop: as cheap to check as those of a rollout.
const ROLE: &str = "bench_by_hand";

/// The databases, and who enters them.
pub(crate) struct ByHand {
    databases: Vec<Config>,
    /// The server's host and port, as they stand in an address.
    place: String,
    password: SecretString,
}

impl ByHand {
    /// Makes the login, and looks which databases there are.
    pub(crate) async fn prepare(subject: &Subject) -> anyhow::Result<Self> {
        let url = subject.told("/servers/0/superuser_url")?;
        let (server, password) = (connect(url).await?, SecretString::from(Random.token()));
        let secret = verifier(&password);
        server
            .batch_execute(&format!(
                "CREATE ROLE {ROLE} LOGIN PASSWORD '{secret}'; GRANT {OWNER_ROLE} TO {ROLE};
                 ALTER ROLE {ROLE} SET role TO {OWNER_ROLE}"
            ))
            .await?;
        let mut config: Config = url.parse()?;
        config.user(ROLE).password(password.expose_secret());
        let sql = "SELECT datname::text FROM pg_database WHERE datname LIKE 'tenant\\_%' ORDER BY 1";
        let rows = server.query(sql, &[]).await?;
        let database = |row: &tokio_postgres::Row| {
            let mut config = config.clone();
            config.dbname(row.get::<_, &str>(0));
            config
        };
        let place = url.rsplit_once('@').and_then(|(_, rest)| rest.split('/').next()).context("no host")?.to_owned();
        Ok(Self { databases: rows.iter().map(database).collect(), place, password })
    }

    /// The addresses of the databases, for programs that know this scheme.
    pub(crate) fn urls(&self, scheme: &str) -> impl Iterator<Item = SecretString> {
        let (place, password) = (&self.place, self.password.expose_secret());
        self.databases
            .iter()
            .filter_map(Config::get_dbname)
            .map(move |database| SecretString::from(format!("{scheme}://{ROLE}:{password}@{place}/{database}")))
    }

    /// How many databases there are.
    pub(crate) fn count(&self) -> usize {
        self.databases.len()
    }

    /// How long the loop takes over all databases, `at_once` at a time. Takes its column away again, unmeasured.
    pub(crate) async fn run(&self, at_once: usize, describes: bool) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let change = |config: &Config| {
            let config = config.clone();
            async move { tokio::spawn(change(config, describes)).await.context("the loop panicked")? }
        };
        stream::iter(&self.databases).map(change).buffer_unordered(at_once).try_collect::<Vec<()>>().await?;
        let took = began.elapsed();
        self.undo(at_once, "ALTER TABLE projects DROP COLUMN by_hand").await?;
        Ok(took)
    }

    /// Runs `sql` in each database.
    pub(crate) async fn undo(&self, at_once: usize, sql: &str) -> anyhow::Result<()> {
        let undo = |config: &Config| {
            let config = config.clone();
            async move { anyhow::Ok(enter(&config).await?.batch_execute(sql).await?) }
        };
        stream::iter(&self.databases).map(undo).buffer_unordered(at_once).try_collect::<()>().await
    }
}

async fn enter(config: &Config) -> anyhow::Result<Client> {
    let (client, session) = config.connect(NoTls).await?;
    tokio::spawn(session);
    Ok(client)
}

async fn change(config: Config, describes: bool) -> anyhow::Result<()> {
    let mut session = enter(&config).await?;
    session.batch_execute("BEGIN; ALTER TABLE projects ADD COLUMN by_hand text; COMMIT").await?;
    if describes {
        let schema = Schema::of(&mut session).await.map_err(|error| anyhow::anyhow!(error.chain()))?;
        anyhow::ensure!(!schema.fingerprint().is_empty(), "a schema without a fingerprint");
    }
    Ok(())
}
