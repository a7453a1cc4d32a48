//! The roles and databases that a fresh cluster needs, made by its superuser: the same SQL that a person runs on
//! a server of their own. Every start runs it again, which heals a cluster whose first start was interrupted.

use std::time::Duration;

use anyhow::Context;
use postgres_protocol::password::scram_sha_256;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Client, NoTls};

use super::cluster::{ADMIN_ROLE, CONTROL_DATABASE, CONTROL_ROLE, Cluster};

const SERVER_SQL: &str = include_str!("../../../ops/postgres/server.sql");
const CONTROL_SQL: &str = include_str!("../../../ops/postgres/control.sql");

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PREPARE_TIMEOUT: Duration = Duration::from_secs(20);

/// Makes a cluster ready to be registered as a server of tenants.
pub(super) async fn prepare_server(cluster: &Cluster) -> anyhow::Result<()> {
    bounded(cluster, async |client| {
        client.batch_execute(SERVER_SQL).await?;
        set_password(client, ADMIN_ROLE, cluster.password(ADMIN_ROLE)?).await
    })
    .await
}

/// Makes a cluster ready to hold the control database, and the platform tenant beside it.
pub(super) async fn prepare_control(cluster: &Cluster) -> anyhow::Result<()> {
    prepare_server(cluster).await?;
    bounded(cluster, async |client| {
        let found = client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&CONTROL_DATABASE]).await?;
        if found.is_none() {
            client.batch_execute(&format!("CREATE DATABASE {CONTROL_DATABASE}")).await?;
        }
        client.batch_execute(CONTROL_SQL).await?;
        set_password(client, CONTROL_ROLE, cluster.password(CONTROL_ROLE)?).await
    })
    .await
}

async fn bounded(cluster: &Cluster, work: impl AsyncFnOnce(&Client) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let steps = async {
        let mut config: tokio_postgres::Config = cluster.superuser_url()?.expose_secret().parse()?;
        config.connect_timeout(CONNECT_TIMEOUT).application_name("freehold:dev");
        let (client, connection) = config.connect(NoTls).await?;
        let connection = tokio::spawn(connection);
        work(&client).await?;
        drop(client);
        connection.await?.map_err(anyhow::Error::from)
    };
    let outcome = tokio::time::timeout(PREPARE_TIMEOUT, steps).await;
    outcome
        .with_context(|| format!("PostgreSQL did not answer within {} s", PREPARE_TIMEOUT.as_secs()))
        .flatten()
        .with_context(|| format!("cannot make the roles of the cluster {}", cluster.name()))
}

/// Gives a role that has none its password: one that was rotated since stays as it is. Sends a SCRAM verifier, which
/// this side computes: the password itself never travels, nor reaches a log.
async fn set_password(client: &Client, role: &str, password: &SecretString) -> anyhow::Result<()> {
    let sql = "SELECT FROM pg_authid WHERE rolname = $1 AND rolpassword IS NOT NULL";
    if client.query_opt(sql, &[&role]).await?.is_some() {
        return Ok(());
    }
    let verifier = scram_sha_256(password.expose_secret().as_bytes());
    client.batch_execute(&format!("ALTER ROLE {role} PASSWORD '{verifier}'")).await?;
    Ok(())
}
