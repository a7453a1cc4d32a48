//! A tenant whose database is migrated by hand, as a rollout does it: in a session of a temporary login.

use std::sync::atomic::{AtomicU32, Ordering};

use freehold::{
    error::{Error, Result},
    migrations::{AppliedFile, Limits, MigrationFile, MigrationSet, Outcome, Progress, TenantSchema, apply_tenant},
    operations::schema::ROLES,
    servers::{Credentials, ServerAdmin},
    types::{SchemaVersions, Stream},
};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::watch;
use tokio_postgres::Client;

use crate::{
    harness::{fleet::Fleet, sql::Database, tenant::Tenant},
    migrations::published,
};

/// A tenant, and the login that migrates it.
pub(super) struct Subject<'a> {
    pub(super) tenant: Tenant<'a>,
    admin: ServerAdmin,
    login: Credentials,
    /// The product's files that it was made of. Other tests have published some here.
    published: MigrationSet,
}

impl<'a> Subject<'a> {
    pub(super) async fn make(fleet: &'a Fleet) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (tenant, admin) = (fleet.tenant().await, fleet.server_admin().await);
        let name = format!("freehold_builder_test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let login = admin.ensure_builder(&name).await.unwrap();
        let text = |file: &Value, member: &str| file[member].as_str().unwrap().to_owned();
        let files = published(fleet).await;
        let published = MigrationSet::parse(files.iter().map(|file| (text(file, "name"), text(file, "sql")))).unwrap();
        Self { tenant, admin, login, published }
    }

    pub(super) fn database(&self) -> Database {
        self.tenant.database()
    }

    /// A session of the login that migrates.
    pub(super) async fn session(&self) -> Client {
        let password = self.login.password.expose_secret();
        self.database().logged_in_as(&self.login.role, password).connect().await.unwrap()
    }

    /// A session of the same login in another database of the server.
    pub(super) async fn session_in(&self, fleet: &Fleet, database: &str) -> Client {
        let password = self.login.password.expose_secret();
        fleet.on_server(database).logged_in_as(&self.login.role, password).connect().await.unwrap()
    }

    /// Applies what the database lacks of the published files and these.
    pub(super) async fn apply(&self, more: &[&str], limits: &Limits) -> Result<Outcome> {
        self.apply_all(&self.schema(more), limits).await
    }

    pub(super) async fn apply_all(&self, schema: &TenantSchema, limits: &Limits) -> Result<Outcome> {
        apply_tenant(&mut self.session().await, schema, &ROLES, limits, &watch::Sender::<Progress>::default()).await
    }

    /// What refuses the last of these files, which changes nothing: code and sentence.
    pub(super) async fn refused(&self, more: &[&str]) -> (&'static str, String) {
        let before = self.traces().await;
        let error = self.apply(more, &Limits::default()).await.map(|_| more.to_vec()).unwrap_err();
        assert_eq!(self.traces().await, before, "{more:?}");
        (error.code(), error.to_string())
    }

    /// All that a file may leave behind, in the database and beside it.
    async fn traces(&self) -> Vec<String> {
        let sql = format!(
            "SELECT relname || relnamespace FROM pg_class WHERE relnamespace::regnamespace::text IN ('public', 'freehold')
             UNION ALL SELECT version || name || checksum FROM refinery_schema_history
             UNION ALL SELECT setdatabase || setrole::regrole::text || setconfig::text FROM pg_db_role_setting
                        WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = '{0}'))
             UNION ALL SELECT datname || datacl::text || datconnlimit || shobj_description(oid, 'pg_database')
                         FROM pg_database WHERE datname = '{0}'
             UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
             UNION ALL SELECT gid FROM pg_prepared_xacts
             ORDER BY 1",
            self.tenant.database_name()
        );
        self.database().values(&sql).await
    }

    /// A session of the tenant's own role.
    pub(super) async fn own_session(&self, fleet: &Fleet) -> Client {
        let password = fleet.database_password(&self.tenant.id).await;
        let own = self.database().logged_in_as(&self.tenant.database_name(), password.expose_secret());
        own.connect().await.unwrap()
    }

    /// The sets that are published, and these files of the product after them.
    pub(super) fn schema(&self, more: &[&str]) -> TenantSchema {
        let mut files = self.published.files().to_vec();
        for (sql, number) in more.iter().zip(0..) {
            files.push(MigrationFile { version: self.version(number), name: "more".into(), sql: (*sql).to_owned() });
        }
        TenantSchema {
            freehold: MigrationSet::embedded_freehold().unwrap(),
            product: MigrationSet::new(files).unwrap(),
        }
    }

    /// The version of the file of this number, from 0, among those that a test adds.
    pub(super) fn version(&self, number: i32) -> i32 {
        self.published.version() + 1 + number
    }

    /// The published versions of both streams, and `more` of the product's.
    pub(super) fn versions(&self, more: i32) -> SchemaVersions {
        let SchemaVersions { freehold, product } = self.schema(&[]).versions();
        SchemaVersions { freehold, product: product + more }
    }

    /// Ends the session of a run, as the server does for one whose program was killed.
    pub(super) async fn end_session(&self) {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{}'",
            self.login.role
        );
        assert_eq!(self.database().value::<i64>(&sql).await, 1);
    }

    /// Leaves nothing behind.
    pub(super) async fn finish(self) {
        self.admin.drop_builder(&self.login.role).await.unwrap();
        self.tenant.erase().await;
    }
}

/// The versions of the applied files, which have to be the product's.
pub(super) fn applied(outcome: &Outcome) -> Vec<i32> {
    let version = |file: &AppliedFile| {
        assert_eq!(file.stream, Some(Stream::Product));
        file.version
    };
    outcome.files.iter().map(version).collect()
}

/// The code of an error.
pub(super) fn code<T>(result: Result<T>) -> &'static str {
    result.map(|_| ()).as_ref().map_err(Error::code).unwrap_err()
}
