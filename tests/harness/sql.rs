//! A superuser's look into a database, and what only a superuser can arrange.

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Client, Config, NoTls, types::FromSqlOwned};

use super::unique;

/// A database; every call is a session of its own.
#[derive(Clone)]
pub(crate) struct Database(Config);

impl Database {
    /// The database that `url` names.
    pub(crate) fn new(url: &SecretString) -> Self {
        Self(url.expose_secret().parse().unwrap())
    }

    /// Another database of the same server.
    pub(crate) fn named(&self, name: &str) -> Self {
        let mut config = self.0.clone();
        config.dbname(name);
        Self(config)
    }

    /// The same database with another login.
    pub(crate) fn logged_in_as(&self, role: &str, password: &str) -> Self {
        let mut config = self.0.clone();
        config.user(role).password(password);
        Self(config)
    }

    /// A session.
    pub(crate) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.0.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements.
    pub(crate) async fn run(&self, sql: &str) {
        self.connect().await.unwrap().batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// The first column of the only row.
    pub(crate) async fn value<T: FromSqlOwned>(&self, sql: &str) -> T {
        let row = self.connect().await.unwrap().query_one(sql, &[]).await;
        row.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// The first column of all rows.
    pub(crate) async fn values<T: FromSqlOwned>(&self, sql: &str) -> Vec<T> {
        let rows = self.connect().await.unwrap().query(sql, &[]).await;
        rows.unwrap_or_else(|error| panic!("{sql}: {error:?}")).iter().map(|row| row.get(0)).collect()
    }

    /// Adds somebody to a tenant's people, with the password that `like` has.
    pub(crate) async fn add_user(&self, like: &str, email: &str, role: &str) {
        let sql = "WITH added AS (
                       INSERT INTO freehold.users (id, email, name, role, email_verified_at)
                       VALUES (gen_random_uuid(), $2, $2, $3, now()) RETURNING id)
                   INSERT INTO freehold.credentials (id, user_id, kind, data)
                   SELECT gen_random_uuid(), added.id, c.kind, c.data
                   FROM added, freehold.credentials c JOIN freehold.users u ON u.id = c.user_id
                   WHERE u.email = $1 AND c.kind = 'password'";
        let added = self.connect().await.unwrap().execute(sql, &[&like, &email, &role]).await.unwrap();
        assert_eq!(added, 1, "{like} has no password");
    }

    /// Makes a login role with `attributes`; answers with its name and password.
    pub(crate) async fn add_role(&self, attributes: &str) -> (String, String) {
        let (role, password) = (unique("role").replace('-', "_"), unique("password"));
        self.run(&format!("CREATE ROLE {role} LOGIN PASSWORD '{password}' {attributes}")).await;
        (role, password)
    }

    /// The port of the server.
    pub(crate) fn port(&self) -> u16 {
        self.0.get_ports()[0]
    }
}
