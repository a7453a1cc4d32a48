//! What a tenant's life asks of a server, with the administrative role alone: ending sessions, closing a login,
//! dropping. On every version of PostgreSQL that `PG_BIN` may name: from 16 on, CREATEROLE reaches less far.

use freehold::{
    error::Error,
    servers::ServerAdmin,
    types::{Clock, DbName, Random, TenantId},
};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Client, error::SqlState};

use crate::harness::{
    eventually,
    fleet::{self, Fleet},
    sql::Database,
    unique,
};

/// A tenant's database and role on the tenant server, of which the control database knows nothing.
struct Home {
    name: DbName,
    password: SecretString,
    admin: ServerAdmin,
    fleet: &'static Fleet,
}

impl Home {
    async fn make() -> Self {
        let fleet = fleet::shared().await;
        let home = Self { name: new_name(), password: Random.token().into(), admin: fleet.server_admin().await, fleet };
        home.admin.ensure_tenant_role(home.name, &home.password).await.unwrap();
        home.admin.ensure_database(home.name, "template0").await.unwrap();
        home.admin.grant_access(home.name).await.unwrap();
        home
    }

    /// The tenant's database, with a superuser's eyes.
    fn database(&self) -> Database {
        self.fleet.on_server(&self.name.to_string())
    }

    fn server(&self) -> Database {
        self.fleet.on_server("postgres")
    }

    async fn log_in(&self) -> Result<Client, tokio_postgres::Error> {
        self.log_in_with(&self.password).await
    }

    async fn log_in_with(&self, password: &SecretString) -> Result<Client, tokio_postgres::Error> {
        self.database().logged_in_as(&self.name.to_string(), password.expose_secret()).connect().await
    }

    /// One session at work; the one that sits idle and the one inside a transaction are the answer.
    async fn three_sessions(&self) -> [Client; 2] {
        let [idle, in_transaction, at_work] =
            [self.log_in().await, self.log_in().await, self.log_in().await].map(Result::unwrap);
        in_transaction.batch_execute("BEGIN; SELECT 1").await.unwrap();
        tokio::spawn(async move { at_work.batch_execute("SELECT pg_sleep(9)").await });
        let working =
            format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND state = 'active'", self.name);
        let look = || async { (self.server().value::<i64>(&working).await == 1).then_some(()) };
        eventually("a session at work", look).await;
        [idle, in_transaction]
    }

    /// Somebody else's role, and a session of it in the tenant's database.
    async fn foreign_session(&self) -> (String, Client) {
        let (role, password) = self.server().add_role("").await;
        self.server().run(&format!("GRANT CONNECT ON DATABASE {} TO {role}", self.name)).await;
        let session = self.database().logged_in_as(&role, &password).connect().await.unwrap();
        (role, session)
    }

    /// Who is a member of the tenant's role, and by whose grant.
    async fn memberships(&self) -> Vec<String> {
        let sql = format!(
            "SELECT concat_ws(' ', member::regrole, grantor::regrole, admin_option) FROM pg_auth_members
             WHERE roleid = '{}'::regrole ORDER BY 1",
            self.name
        );
        self.server().values(&sql).await
    }

    async fn is_there(&self) -> bool {
        self.admin.database(&self.name.to_string()).await.unwrap().is_some()
    }

    /// Whether a database that is there lets sessions in.
    async fn is_open(&self) -> bool {
        self.admin.database(&self.name.to_string()).await.unwrap().unwrap().allow_connections
    }
}

fn new_name() -> DbName {
    TenantId::generate(&Clock::default(), Random).db_name()
}

fn detail(error: &Error, code: &str) -> String {
    assert_eq!(error.code(), code, "{}", error.chain());
    error.to_string()
}

fn refusal<T>(outcome: Result<T, tokio_postgres::Error>) -> Option<SqlState> {
    outcome.err().and_then(|error| error.code().cloned())
}

#[tokio::test]
async fn sessions_of_every_kind_are_ended_and_no_membership_stays() {
    let home = Home::make().await;
    let before = home.memberships().await;
    assert_eq!(home.admin.terminate_sessions(home.name).await.unwrap(), 0);
    let sessions = home.three_sessions().await;
    let other = Home::make().await;
    let bystander = other.log_in().await.unwrap();
    assert_eq!(home.admin.terminate_sessions(home.name).await.unwrap(), 3);
    assert_eq!(home.admin.sessions_in(&home.name.to_string()).await.unwrap(), 0);
    for session in &sessions {
        assert!(session.batch_execute("SELECT 1").await.is_err());
    }
    bystander.batch_execute("SELECT 1").await.unwrap();
    assert_eq!(home.memberships().await, before);
    home.log_in().await.unwrap();
}

#[tokio::test]
async fn a_template_that_was_not_finished_is_dropped_with_its_builders_sessions() {
    let fleet = fleet::shared().await;
    let (admin, name) = (fleet.server_admin().await, unique("freehold_template").replace('-', "_"));
    admin.ensure_empty_database(&name).await.unwrap();
    let login = admin.ensure_builder(&unique("freehold_builder").replace('-', "_")).await.unwrap();
    let database = fleet.on_server(&name).logged_in_as(&login.role, login.password.expose_secret());
    let [idle, in_transaction] = [database.connect().await, database.connect().await].map(Result::unwrap);
    in_transaction.batch_execute("BEGIN; SELECT 1").await.unwrap();
    admin.drop_unfinished_template(&name).await.unwrap();
    assert!(admin.database(&name).await.unwrap().is_none());
    assert!(idle.batch_execute("SELECT 1").await.is_err());
    admin.drop_builder(&login.role).await.unwrap();
    // What is gone is done.
    admin.drop_unfinished_template(&name).await.unwrap();
}

#[tokio::test]
async fn a_superusers_session_is_named_and_left_and_the_others_are_ended() {
    let home = Home::make().await;
    let before = home.memberships().await;
    let session = home.log_in().await.unwrap();
    let superuser = home.database().connect().await.unwrap();
    let refused = home.admin.terminate_sessions(home.name).await.unwrap_err();
    assert!(detail(&refused, "database_in_use").contains("1 (of postgres)"), "{refused}");
    assert!(session.batch_execute("SELECT 1").await.is_err());
    superuser.batch_execute("SELECT 1").await.unwrap();
    assert_eq!(home.memberships().await, before);

    let refused = home.admin.drop_database(home.name).await.unwrap_err();
    detail(&refused, "database_in_use");
    drop(superuser);
    let name = home.name.to_string();
    eventually("the superuser's goodbye", || async {
        (home.admin.sessions_in(&name).await.unwrap() == 0).then_some(())
    })
    .await;
    home.admin.drop_database(home.name).await.unwrap();
    assert!(!home.is_there().await);
}

/// Somebody else's role: before 16 CREATEROLE reaches it, later only who was told to may end its sessions.
#[tokio::test]
async fn a_foreign_roles_session_is_ended_where_the_server_lets_us() {
    let home = Home::make().await;
    let (role, foreign) = home.foreign_session().await;
    if home.admin.version().0 >= 160_000 {
        let refused = home.admin.terminate_sessions(home.name).await.unwrap_err();
        assert!(detail(&refused, "database_in_use").contains(&role), "{refused}");
        home.server().run(&format!("GRANT {role} TO freehold_admin WITH ADMIN OPTION, INHERIT FALSE")).await;
    }
    assert_eq!(home.admin.terminate_sessions(home.name).await.unwrap(), 1);
    assert!(foreign.batch_execute("SELECT 1").await.is_err());
    let inherited = format!("SELECT pg_has_role('freehold_admin', '{role}', 'USAGE')");
    assert!(!home.server().value::<bool>(&inherited).await);

    let (_, foreign) = home.foreign_session().await;
    home.server().run("GRANT pg_signal_backend TO freehold_admin").await;
    let ended = home.admin.terminate_sessions(home.name).await;
    home.server().run("REVOKE pg_signal_backend FROM freehold_admin").await;
    assert_eq!(ended.unwrap(), 1);
    assert!(foreign.batch_execute("SELECT 1").await.is_err());
}

#[tokio::test]
async fn sessions_that_keep_coming_are_no_endless_wait() {
    let home = Home::make().await;
    let database = home.database().logged_in_as(&home.name.to_string(), home.password.expose_secret());
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let storm = tokio::spawn(async move {
        let mut sessions = Vec::new();
        while stopped.try_recv().is_err() {
            sessions.truncate(4);
            sessions.insert(0, database.connect().await);
        }
    });
    let began = std::time::Instant::now();
    // Between two looks the last one may just have gone: both answers are right, neither may be late.
    if let Err(error) = home.admin.terminate_sessions(home.name).await {
        assert!(error.is_transient(), "{}", error.chain());
    }
    assert!(began.elapsed().as_secs() < 8, "{:?}", began.elapsed());
    // The drop closes the database first: against that no storm helps.
    home.admin.drop_database(home.name).await.unwrap();
    stop.send(()).unwrap();
    storm.await.unwrap();
}

#[tokio::test]
async fn a_login_is_denied_and_allowed_and_its_password_changed() {
    let home = Home::make().await;
    let session = home.log_in().await.unwrap();
    for _ in 0..2 {
        home.admin.deny_login(home.name).await.unwrap();
    }
    assert_eq!(refusal(home.log_in().await), Some(SqlState::INVALID_AUTHORIZATION_SPECIFICATION));
    session.batch_execute("SELECT 1").await.unwrap();
    for _ in 0..2 {
        home.admin.allow_login(home.name).await.unwrap();
    }
    home.log_in().await.unwrap();

    let password = SecretString::from(Random.token());
    assert!(home.admin.set_tenant_password(home.name, &password).await.unwrap());
    assert_eq!(refusal(home.log_in().await), Some(SqlState::INVALID_PASSWORD));
    home.log_in_with(&password).await.unwrap();
    session.batch_execute("SELECT 1").await.unwrap();

    let nobody = new_name();
    home.admin.deny_login(nobody).await.unwrap();
    home.admin.allow_login(nobody).await.unwrap();
    assert!(!home.admin.set_tenant_password(nobody, &password).await.unwrap());
}

#[tokio::test]
async fn a_database_in_use_and_its_role_are_dropped_however_often() {
    let home = Home::make().await;
    let sessions = home.three_sessions().await;
    for _ in 0..2 {
        home.admin.drop_database(home.name).await.unwrap();
        assert!(!home.is_there().await);
    }
    assert!(sessions[0].batch_execute("SELECT 1").await.is_err());
    for _ in 0..2 {
        home.admin.drop_tenant_role(home.name).await.unwrap();
    }
    let left = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", home.name);
    assert_eq!(home.server().value::<i64>(&left).await, 0);
}

#[tokio::test]
async fn an_interrupted_drop_is_finished() {
    let home = Home::make().await;
    let session = home.log_in().await.unwrap();
    home.server().run(&format!("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{}'", home.name)).await;
    home.admin.drop_database(home.name).await.unwrap();
    assert!(!home.is_there().await);
    assert!(session.batch_execute("SELECT 1").await.is_err());
}

#[tokio::test]
async fn somebody_elses_database_is_not_dropped() {
    let home = Home::make().await;
    for owner in ["postgres", "freehold_admin"] {
        home.server().run(&format!("ALTER DATABASE {} OWNER TO {owner}", home.name)).await;
        detail(&home.admin.drop_database(home.name).await.unwrap_err(), "database_taken");
        assert!(home.is_open().await);
    }
}

#[tokio::test]
async fn a_prepared_transaction_stands_in_the_way_until_it_is_ended() {
    let home = Home::make().await;
    let id = unique("prepared");
    home.database().run(&format!("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION '{id}'")).await;
    let refused = home.admin.drop_database(home.name).await.unwrap_err();
    assert!(detail(&refused, "database_in_use").contains("1 prepared transactions"), "{refused}");
    assert!(home.is_open().await, "nobody could end the transaction");
    home.database().run(&format!("ROLLBACK PREPARED '{id}'")).await;
    home.admin.drop_database(home.name).await.unwrap();
    assert!(!home.is_there().await);
}

#[tokio::test]
async fn a_replication_slot_stands_in_the_way_while_it_is_read() {
    let home = Home::make().await;
    let name = unique("slot").replace('-', "_");
    home.database().run("CREATE PUBLICATION p").await;
    // It waits for every transaction of the server: for another test's, should that fail, not for ever.
    let maker = home.database().connect().await.unwrap();
    maker.batch_execute("SET statement_timeout = '20s'").await.unwrap();
    let make = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
    maker.batch_execute(&make).await.unwrap();
    drop(maker);
    // The reader: a subscription of another database of the same server, as its superuser.
    home.server().run(&format!("CREATE DATABASE {name}")).await;
    let reader = home.fleet.on_server(&name);
    let password = home.fleet.superuser_password();
    let port = home.server().port();
    reader
        .run(&format!(
            "CREATE SUBSCRIPTION {name} CONNECTION 'host=127.0.0.1 port={port} dbname={} user=postgres
             password={password}' PUBLICATION p WITH (create_slot = false, slot_name = '{name}')",
            home.name
        ))
        .await;
    let active = format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{name}'");
    eventually("a reader of the slot", || async { home.server().value::<bool>(&active).await.then_some(()) }).await;
    let refused = home.admin.drop_database(home.name).await.unwrap_err();
    assert!(detail(&refused, "database_in_use").contains("1 active replication slots"), "{refused}");
    assert!(home.is_open().await);

    reader.run(&format!("ALTER SUBSCRIPTION {name} DISABLE")).await;
    reader.run(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")).await;
    reader.run(&format!("DROP SUBSCRIPTION {name}")).await;
    eventually("the reader's end", || async { (!home.server().value::<bool>(&active).await).then_some(()) }).await;
    home.admin.drop_database(home.name).await.unwrap();
    let left = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{name}'");
    assert_eq!(home.server().value::<i64>(&left).await, 0, "the slot goes with its database");
    home.server().run(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
}

#[tokio::test]
async fn a_role_that_something_depends_on_says_where() {
    let (home, other) = (Home::make().await, Home::make().await);
    home.server().run(&format!("GRANT CONNECT ON DATABASE {} TO {}", other.name, home.name)).await;
    other.database().run(&format!("CREATE TABLE t (); GRANT SELECT ON t TO {}", home.name)).await;
    home.admin.drop_database(home.name).await.unwrap();
    let refused = home.admin.drop_tenant_role(home.name).await.unwrap_err();
    assert!(detail(&refused, "role_in_use").contains(&other.name.to_string()), "{refused}");
    home.server().run(&format!("REVOKE CONNECT ON DATABASE {} FROM {}", other.name, home.name)).await;
    let refused = home.admin.drop_tenant_role(home.name).await.unwrap_err();
    assert!(detail(&refused, "role_in_use").contains(&other.name.to_string()), "{refused}");
    other.database().run("DROP TABLE t").await;
    home.admin.drop_tenant_role(home.name).await.unwrap();
    // The right on its own database is taken away with it.
    other.admin.drop_tenant_role(other.name).await.unwrap();
    assert!(other.is_there().await);
}

#[tokio::test]
async fn a_database_is_measured_open_or_closed() {
    let home = Home::make().await;
    let empty = home.admin.database_size(home.name).await.unwrap();
    assert!(empty > 1_000_000, "{empty}");
    home.database().run("CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 3000)").await;
    home.server().run(&format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", home.name)).await;
    let grown = home.admin.database_size(home.name).await.unwrap();
    assert!(grown - empty > 3_000_000, "{empty} {grown}");
    home.admin.drop_database(home.name).await.unwrap();
    detail(&home.admin.database_size(home.name).await.unwrap_err(), "not_found");
}
