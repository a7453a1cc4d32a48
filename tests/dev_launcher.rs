//! The dev servers: brought up, isolated, killed, found again, reset. Real clusters, in a folder of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use freehold::{
    cli::dev::{
        cluster::Cluster,
        environment::{self, Environment},
    },
    types::Random,
};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Client, NoTls};

/// A folder that ends with the test. Cargo's own folder for tests, since accounts other than root's must reach it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("dev-{}", Random.token()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

async fn connect(url: &SecretString) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url.expose_secret(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn number(url: &SecretString, sql: &str) -> i64 {
    connect(url).await.unwrap().query_one(sql, &[]).await.unwrap().get(0)
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

/// What a killed run leaves behind: its servers run on, its lock is free.
fn abandon(environment: Environment) {
    std::mem::forget((environment.control, environment.server, environment.redis));
}

async fn assert_isolated(environment: &Environment) {
    let admin = environment.server_admin_url().unwrap();
    let rights = "SELECT count(*) FROM pg_roles WHERE rolname = 'freehold_admin' AND rolcreatedb AND rolcreaterole
                  AND NOT rolsuper AND NOT rolreplication AND NOT rolbypassrls";
    assert_eq!(number(&admin, rights).await, 1);
    let open = "SELECT count(*) FROM pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) a
                WHERE a.grantee = 0 AND a.privilege_type IN ('CONNECT', 'TEMPORARY') AND datallowconn";
    assert_eq!(number(&admin, open).await, 0, "databases of the server open to everybody");
    assert_eq!(number(&environment.platform_admin_url().unwrap(), open).await, 0, "the same beside the control data");
    let control = environment.control_url().unwrap();
    let owned = "SELECT count(*) FROM pg_database WHERE datname = current_database()
                 AND pg_get_userbyid(datdba) = current_user";
    assert_eq!(number(&control, owned).await, 1);
    let elsewhere = control.expose_secret().replace("/freehold_control?", "/postgres?").into();
    assert!(connect(&elsewhere).await.is_err(), "the control role has no business in another database");
}

async fn write_row(cluster: &Cluster) {
    let client = connect(&cluster.superuser_url().unwrap()).await.unwrap();
    client.batch_execute("CREATE TABLE kept (id bigint); INSERT INTO kept VALUES (7)").await.unwrap();
}

#[tokio::test]
async fn servers_come_up_isolated_survive_a_killed_run_and_start_anew_on_request() {
    let folder = Folder::new();
    let first = environment::start(&folder.0, false).await.unwrap();
    assert_isolated(&first).await;
    write_row(&first.server).await;
    let refused = environment::start(&folder.0, false).await.err().unwrap().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");

    let (server_pid, control_pid, port) = (first.server.pid(), first.control.pid(), first.server.port());
    abandon(first);
    kill(control_pid);

    let second = environment::start(&folder.0, false).await.unwrap();
    assert_ne!(second.server.pid(), server_pid);
    assert_eq!(second.server.port(), port, "found again where it was");
    assert_eq!(number(&second.server.superuser_url().unwrap(), "SELECT id FROM kept").await, 7);
    second.stop().await.unwrap();

    let third = environment::start(&folder.0, true).await.unwrap();
    let tables = "SELECT count(*) FROM pg_tables WHERE tablename = 'kept'";
    assert_eq!(number(&third.server.superuser_url().unwrap(), tables).await, 0);
    third.stop().await.unwrap();
}
