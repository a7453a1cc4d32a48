//! A tenant's database becomes an encrypted archive and a database again: same rows, same grants, nothing in the open,
//! and nothing left behind by what fails. Real servers and PostgreSQL's own programs.

use std::{fs, path::PathBuf, time::Duration};

use freehold::{
    archives::{self, ArchiveKey, ArchiveName, Store, Written},
    error::Error,
    operations::Context,
    servers::{
        AdminUrl, Credentials, ServerAdmin, TransferLogin,
        dump::{Dump, DumpPrograms, Selection, Target},
    },
    types::{ArchiveId, Clock, DbName, Random, TenantId},
};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio_postgres::error::SqlState;

use crate::harness::{
    eventually,
    fleet::{self, Fleet},
    sql::Database,
    tenant::Tenant,
    unique,
};

/// Every grant and owner in a database, as text.
pub(crate) const GRANTS: &str = "
    SELECT array_to_string(row, ' | ') FROM (
        SELECT ARRAY['class', c.oid::regclass::text, relacl::text, pg_get_userbyid(relowner)] AS row
          FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname !~ '^(pg_|information)'
        UNION ALL SELECT ARRAY['schema', nspname, nspacl::text, pg_get_userbyid(nspowner)]
          FROM pg_namespace WHERE nspname !~ '^pg_(toast|temp)'
        UNION ALL SELECT ARRAY['function', p.oid::regprocedure::text, proacl::text, pg_get_userbyid(proowner)]
          FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname !~ '^(pg_|information)'
        UNION ALL SELECT ARRAY['type', t.oid::regtype::text, typacl::text, pg_get_userbyid(typowner)]
          FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname !~ '^(pg_|information)'
        UNION ALL SELECT ARRAY['column', attrelid::regclass::text || '.' || attname, attacl::text]
          FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE attacl IS NOT NULL AND c.oid >= 16384
        UNION ALL SELECT ARRAY['default', defaclobjtype::text, defaclacl::text, pg_get_userbyid(defaclrole)]
          FROM pg_default_acl
        UNION ALL SELECT ARRAY['extension', extname, pg_get_userbyid(extowner)] FROM pg_extension) AS grants
     ORDER BY 1";

const TABLES: &str = "
    SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind = 'r' AND nspname IN ('freehold', 'public') ORDER BY 1";

/// What migrations of a product may do beyond the example's, as the role that runs them.
const UNUSUAL: &str = "
    SET ROLE freehold_owner;
    CREATE SCHEMA extra;
    CREATE TABLE extra.numbers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mood text, doubled int);
    CREATE TABLE read_only (id int);
    REVOKE ALL ON read_only FROM freehold_tenant;
    GRANT SELECT ON read_only TO freehold_tenant;
    GRANT UPDATE (id) ON read_only TO freehold_tenant;
    CREATE FUNCTION secret() RETURNS int LANGUAGE sql AS 'SELECT 1';
    REVOKE EXECUTE ON FUNCTION secret() FROM PUBLIC;
    CREATE TYPE mood AS ENUM ('fine', 'better');
    CREATE VIEW overview AS SELECT count(*) FROM projects;
    INSERT INTO extra.numbers (mood) SELECT 'fine' FROM generate_series(1, 100)";

/// A tenant, the server's administration, and what dumps and restores there.
pub(crate) struct Desk<'a> {
    fleet: &'a Fleet,
    context: &'a Context,
    admin: ServerAdmin,
    url: AdminUrl,
    programs: DumpPrograms,
}

impl<'a> Desk<'a> {
    pub(crate) async fn of(fleet: &'a Fleet) -> Self {
        let context = fleet.replica.app().operations();
        let url = AdminUrl::parse(&fleet.server_admin_url()).unwrap();
        let admin =
            ServerAdmin::connect(&context.connector, &url.address, &url.database, &url.credentials, "freehold:test");
        let admin = admin.await.unwrap();
        let programs = context.dump_tools.for_server(admin.version()).await.unwrap();
        Self { fleet, context, admin, url, programs }
    }

    /// What `pg_restore --list` says of a dump.
    pub(crate) async fn listed(&self, dump: &[u8]) -> String {
        self.programs.contents(dump).await.unwrap()
    }

    fn target<'t>(&'t self, database: &'t str, credentials: &'t Credentials) -> Target<'t> {
        Target { address: &self.url.address, database, credentials, application_name: "freehold:test:dump" }
    }

    pub(crate) async fn dump(&self, database: DbName) -> Dump {
        let login = self.admin.ensure_transfer_login(TransferLogin::Dump(database)).await.unwrap();
        self.programs.dump(&self.target(&database.to_string(), &login), &Selection::default()).await.unwrap()
    }

    /// A database for a tenant that nobody knows of, to be restored into.
    pub(crate) async fn empty_database(&self) -> DbName {
        let name = TenantId::generate(&Clock::default(), Random).db_name();
        self.admin.ensure_empty_database(&name.to_string()).await.unwrap();
        name
    }

    pub(crate) async fn restore(
        &self,
        name: DbName,
        input: impl tokio::io::AsyncRead + Send + Unpin,
    ) -> Result<(), Error> {
        let login = self.admin.ensure_transfer_login(TransferLogin::Restore(name)).await.unwrap();
        let restored = self.programs.restore(&self.target(&name.to_string(), &login), input).await;
        self.admin.drop_transfer_login(TransferLogin::Restore(name)).await.unwrap();
        restored
    }

    pub(crate) async fn discard(&self, name: DbName) {
        let server = self.fleet.on_server("postgres");
        server.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        server.run(&format!("DROP ROLE IF EXISTS {name}")).await;
    }

    fn store(&self) -> &Store {
        self.context.archives().unwrap()
    }
}

pub(crate) fn database_of(tenant: &Tenant<'_>) -> DbName {
    tenant.database_name().parse().unwrap()
}

fn name_for(tenant: &Tenant<'_>) -> ArchiveName {
    ArchiveName { tenant: tenant.id.parse().unwrap(), archive: ArchiveId::generate(&Clock::default(), Random) }
}

fn file_of(fleet: &Fleet, name: ArchiveName) -> PathBuf {
    let folder = PathBuf::from(fleet.setting("FREEHOLD_ARCHIVE_URL")).join(name.tenant.to_string());
    folder.join(format!("{}.archive", name.archive))
}

/// Whatever lies under the tenant's name, finished or not.
fn files_of(fleet: &Fleet, tenant: &Tenant<'_>) -> usize {
    fs::read_dir(PathBuf::from(fleet.setting("FREEHOLD_ARCHIVE_URL")).join(&tenant.id)).map_or(0, Iterator::count)
}

/// Gives the tenant some megabytes that do not compress away, each row with the canary.
async fn fill(tenant: &Tenant<'_>, canary: &str) {
    let sql = format!(
        "INSERT INTO projects (id, name, description)
         SELECT gen_random_uuid(), '{canary} ' || n, (SELECT string_agg(md5(random()::text || n || m), '')
           FROM generate_series(1, 100) m) FROM generate_series(1, 2000) n"
    );
    tenant.database().run(&sql).await;
}

/// What a replica adds some seconds after an event was written, whatever a test does meanwhile.
const CHAIN: [&str; 2] = ["freehold.audit_batches", "freehold.audit_digests"];

/// Name, count and checksum of every table but those of the audit log's chain.
pub(crate) async fn contents(database: &Database) -> Vec<String> {
    let tables: Vec<String> = database.values(TABLES).await;
    let mut contents = Vec::new();
    for table in tables.into_iter().filter(|table| !CHAIN.contains(&table.as_str())) {
        let rows = format!(
            "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM {table} t"
        );
        contents.push(format!("{table} {}", database.value::<String>(&rows).await));
    }
    contents
}

/// What a tenant's own role may and may not do in its restored database.
async fn judge_rights(desk: &Desk<'_>, name: DbName) {
    let password = "a password of this test alone";
    desk.admin.ensure_tenant_role(name, &password.into()).await.unwrap();
    desk.admin.restrict_database(name).await.unwrap();
    let database = desk.fleet.on_server(&name.to_string()).logged_in_as(&name.to_string(), password);
    let session = database.connect().await.unwrap();
    session
        .batch_execute("INSERT INTO projects (id, name) VALUES (gen_random_uuid(), 'new'); INSERT INTO extra.numbers (mood) VALUES ('x');
             UPDATE projects SET description = ''; DELETE FROM tasks; SELECT * FROM refinery_schema_history, overview")
        .await
        .unwrap();
    for refused in [
        "CREATE TABLE mine (id int)",
        "ALTER TABLE projects ADD COLUMN x int",
        "DROP TABLE projects",
        "DELETE FROM refinery_schema_history",
        "INSERT INTO read_only VALUES (1)",
        "SET ROLE freehold_owner",
        "CREATE TEMP TABLE x (id int)",
    ] {
        let refusal = session.batch_execute(refused).await.unwrap_err();
        assert_eq!(refusal.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
    }
}

#[tokio::test]
async fn an_archive_comes_back_with_the_same_rows_and_grants_and_reveals_nothing() {
    let fleet = fleet::shared().await;
    let (desk, tenant, canary) = (Desk::of(fleet).await, fleet.tenant().await, unique("canary"));
    fill(&tenant, &canary).await;
    tenant.database().run(UNUSUAL).await;
    let (before, grants) = (contents(&tenant.database()).await, tenant.database().values::<String>(GRANTS).await);
    let (key, name) = (ArchiveKey::generate(Random), name_for(&tenant));

    let mut dump = desk.dump(database_of(&tenant)).await;
    let mut beginning = vec![0; 100];
    dump.read_exact(&mut beginning).await.unwrap();
    // The dump is under way and nobody reads it: the tenant goes on writing, and the snapshot does not see it.
    let project = json!({ "name": "written meanwhile" });
    tenant.admin.post("/v1/projects", &project).await.expect(201);
    let written = archives::write(desk.store(), &key, name, beginning.as_slice().chain(dump)).await.unwrap();
    desk.admin.drop_transfer_login(TransferLogin::Dump(database_of(&tenant))).await.unwrap();

    let listed = desk.programs.contents(archives::read(desk.store(), &key, name).await.unwrap()).await.unwrap();
    for table in ["freehold users", "public projects", "public read_only", "extra numbers"] {
        assert!(listed.contains(&format!("TABLE DATA {table} freehold_owner")), "{table}: {listed}");
    }

    let stored = fs::read(file_of(fleet, name)).unwrap();
    assert_eq!(stored.len() as u64, written.bytes_stored);
    assert!(written.bytes_plain > 1_000_000, "{written:?}");
    for marker in [canary.as_bytes(), b"PGDMP", b"freehold_owner", tenant.database_name().as_bytes(), b"CREATE TABLE"] {
        assert!(!stored.windows(marker.len()).any(|window| window == marker), "{marker:?} lies open");
    }

    let restored = desk.empty_database().await;
    desk.restore(restored, archives::read(desk.store(), &key, name).await.unwrap()).await.unwrap();
    let database = fleet.on_server(&restored.to_string());
    assert_eq!(contents(&database).await, before);
    assert_eq!(database.values::<String>(GRANTS).await, grants);
    judge_rights(&desk, restored).await;
    desk.discard(restored).await;
    desk.store().delete(name).await.unwrap();
    let logins = "SELECT rolname::text FROM pg_roles WHERE rolname ~ '^freehold_(dump|restore)_' AND rolname ~ ANY ($$";
    let hex = [tenant.id.replace("ten_", ""), restored.tenant().uuid().simple().to_string()].join("|");
    let left: Vec<String> = fleet.on_server("postgres").values(&logins.replace("ANY ($$", &format!("'{hex}'"))).await;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn the_logins_of_an_errand_can_do_nothing_else() {
    let fleet = fleet::shared().await;
    let (desk, tenant, other) = (Desk::of(fleet).await, fleet.tenant().await, fleet.tenant().await);
    let database = database_of(&tenant);
    for errand in [TransferLogin::Dump(database), TransferLogin::Restore(database)] {
        // Twice: a killed process leaves the first behind.
        desk.admin.ensure_transfer_login(errand).await.unwrap();
        let login = desk.admin.ensure_transfer_login(errand).await.unwrap();
        let own = tenant.database().logged_in_as(&login.role, login.password.expose_secret());
        let session = own.connect().await.unwrap();
        for elsewhere in [other.database_name().as_str(), "postgres", "template1"] {
            let elsewhere_own = own.named(elsewhere);
            // The login has two sessions: the last one that was refused may not be quite gone.
            let refused = eventually("a session is free", async || {
                let refused = elsewhere_own.connect().await.err().unwrap();
                (refused.code() != Some(&SqlState::TOO_MANY_CONNECTIONS)).then_some(refused)
            })
            .await;
            assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{errand:?} in {elsewhere}");
        }
        for refused in [
            "CREATE TABLE public.mine (id int)",
            "CREATE ROLE mine",
            "DROP TABLE freehold.users",
            "SET ROLE freehold_admin",
        ] {
            let refusal = session.batch_execute(refused).await.unwrap_err();
            assert_eq!(refusal.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{errand:?}: {refused}");
        }
        session.batch_execute("SET ROLE freehold_owner").await.unwrap();
        drop(session);
        desk.admin.drop_transfer_login(errand).await.unwrap();
        desk.admin.drop_transfer_login(errand).await.unwrap();
        assert!(own.connect().await.is_err());
    }
}

/// What is written of the tenant's database, and what becomes of it.
async fn archive(desk: &Desk<'_>, tenant: &Tenant<'_>) -> (ArchiveKey, ArchiveName, Result<Written, Error>) {
    let (key, name) = (ArchiveKey::generate(Random), name_for(tenant));
    let dump = desk.dump(database_of(tenant)).await;
    let written = archives::write(desk.store(), &key, name, dump).await;
    desk.admin.drop_transfer_login(TransferLogin::Dump(database_of(tenant))).await.unwrap();
    (key, name, written)
}

#[tokio::test]
async fn a_damaged_archive_restores_nothing() {
    let fleet = fleet::shared().await;
    let (desk, tenant) = (Desk::of(fleet).await, fleet.tenant().await);
    fill(&tenant, "row").await;
    let (key, name, written) = archive(&desk, &tenant).await;
    written.unwrap();
    let file = file_of(fleet, name);
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let target = desk.empty_database().await;
    let last_byte_gone = good[..good.len() - 1].to_vec();
    for (what, bytes) in [("flipped", flipped), ("half", good[..good.len() / 2].to_vec()), ("cut", last_byte_gone)] {
        fs::write(&file, &bytes).unwrap();
        let plain = archives::read(desk.store(), &key, name).await.unwrap();
        let refused = desk.restore(target, plain).await.unwrap_err();
        assert_eq!(refused.code(), "archive_damaged", "{what}");
        let plain = archives::read(desk.store(), &key, name).await.unwrap();
        assert_eq!(desk.programs.contents(plain).await.unwrap_err().code(), "archive_damaged", "{what}");
        let tables: Vec<String> = fleet.on_server(&target.to_string()).values(TABLES).await;
        assert!(tables.is_empty(), "{what}: {tables:?}");
    }
    // The same database takes what is whole.
    fs::write(&file, &good).unwrap();
    desk.restore(target, archives::read(desk.store(), &key, name).await.unwrap()).await.unwrap();
    desk.discard(target).await;
    desk.store().delete(name).await.unwrap();
    assert_eq!(files_of(fleet, &tenant), 0);
}

/// Kills the program that works for this login.
async fn kill_program_of(login: &str) {
    let marker = format!("PGUSER={login}");
    let pid = eventually("the program", async || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let is_it = |path: &PathBuf| {
            let environment = fs::read(path.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|pair| pair == marker.as_bytes())
        };
        processes.map(|entry| entry.path()).find(is_it)?.file_name()?.to_str().map(str::to_owned)
    })
    .await;
    assert!(tokio::process::Command::new("kill").args(["-9", &pid]).status().await.unwrap().success());
}

fn login_of(errand: &str, database: DbName) -> String {
    format!("freehold_{errand}_{}", database.tenant().uuid().simple())
}

#[tokio::test]
async fn a_dump_that_does_not_end_well_is_no_archive() {
    let fleet = fleet::shared().await;
    let (desk, tenant) = (Desk::of(fleet).await, fleet.tenant().await);
    fill(&tenant, "row").await;
    let database = database_of(&tenant);
    for by_server in [false, true] {
        let mut dump = desk.dump(database).await;
        let mut beginning = vec![0; 300_000];
        dump.read_exact(&mut beginning).await.unwrap();
        let login = login_of("dump", database);
        if by_server {
            let sql =
                format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{login}'");
            assert_eq!(fleet.on_server("postgres").value::<i64>(&sql).await, 1);
        } else {
            kill_program_of(&login).await;
        }
        let source = beginning.as_slice().chain(dump);
        let refused = archives::write(desk.store(), &ArchiveKey::generate(Random), name_for(&tenant), source).await;
        let refused = refused.unwrap_err();
        assert!(refused.chain().contains("pg_dump"), "{}", refused.chain());
        assert_eq!(files_of(fleet, &tenant), 0);
    }
    // What a tenant's own role has made beside its tables is not lost without a word.
    let password = fleet.database_password(&tenant.id).await;
    let own = tenant.database().logged_in_as(&tenant.database_name(), password.expose_secret());
    own.run("SELECT lo_from_bytea(0, 'made by the tenant')").await;
    let (_, _, written) = archive(&desk, &tenant).await;
    assert!(written.unwrap_err().chain().contains("large object"));
    assert_eq!(files_of(fleet, &tenant), 0);
}

#[tokio::test]
async fn a_restore_that_is_killed_or_given_up_leaves_an_empty_database_that_can_be_filled() {
    let fleet = fleet::shared().await;
    let (desk, tenant) = (Desk::of(fleet).await, fleet.tenant().await);
    fill(&tenant, "row").await;
    let (key, name, written) = archive(&desk, &tenant).await;
    written.unwrap();
    let target = desk.empty_database().await;
    let login = desk.admin.ensure_transfer_login(TransferLogin::Restore(target)).await.unwrap();
    let database = target.to_string();
    for kill in [true, false] {
        // The input stops half-way and stays open.
        let half = archives::read(desk.store(), &key, name).await.unwrap().take(1_000_000);
        let (input, mut feeder) = tokio::io::duplex(64 * 1024);
        let feeding = tokio::spawn(async move { tokio::io::copy(&mut { half }, &mut feeder).await.map(|_| feeder) });
        let at = desk.target(&database, &login);
        let restoring = desk.programs.restore(&at, input);
        if kill {
            let (restored, ()) = tokio::join!(restoring, async {
                kill_program_of(&login.role).await;
                drop(feeding.await);
            });
            assert!(restored.unwrap_err().chain().contains("pg_restore"));
        } else {
            assert!(tokio::time::timeout(Duration::from_secs(2), restoring).await.is_err());
        }
        let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", login.role);
        eventually("the session to end", async || {
            (fleet.on_server("postgres").value::<i64>(&sessions).await == 0).then_some(())
        })
        .await;
        assert!(fleet.on_server(&database).values::<String>(TABLES).await.is_empty());
    }
    desk.restore(target, archives::read(desk.store(), &key, name).await.unwrap()).await.unwrap();
    assert_eq!(contents(&fleet.on_server(&database)).await, contents(&tenant.database()).await);
    desk.discard(target).await;
    desk.store().delete(name).await.unwrap();
}

#[tokio::test]
async fn a_dump_is_restored_without_a_store_and_what_is_taken_already_is_refused() {
    let fleet = fleet::shared().await;
    let (desk, tenant) = (Desk::of(fleet).await, fleet.tenant().await);
    let target = desk.empty_database().await;
    for first in [true, false] {
        let dump = desk.dump(database_of(&tenant)).await;
        let restored = desk.restore(target, dump).await;
        assert_eq!(restored.is_ok(), first, "{restored:?}");
    }
    assert_eq!(contents(&fleet.on_server(&target.to_string())).await, contents(&tenant.database()).await);
    desk.admin.drop_transfer_login(TransferLogin::Dump(database_of(&tenant))).await.unwrap();
    desk.discard(target).await;
}
