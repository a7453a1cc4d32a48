//! A database that is there already becomes a tenant's with all of its rows, or is left, or is given back as it was.

use freehold::{cli::dev::environment::SERVER_NAME, servers::AdminUrl};
use serde_json::{Value, json};

use crate::{
    archiving::failed,
    harness::{
        PASSWORD, eventually,
        fleet::{self, Fleet},
        sql::Database,
        unique,
    },
};

const ADOPTIONS: &str = "/platform/v1/adoptions";
/// The product's own file, as a product from before Freehold has it.
const PRODUCT: &str = include_str!("../tenant-migrations/product/V1__projects_and_tasks.sql");
/// Owners and rights of the database and of all that is in it, and the comment.
const STATE: &str = "
    SELECT concat_ws(' ', 'database', pg_get_userbyid(datdba), coalesce(shobj_description(oid, 'pg_database'), '-'),
                     ARRAY(SELECT a::text FROM unnest(coalesce(datacl, acldefault('d', datdba))) a ORDER BY 1))
      FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT concat_ws(' ', 'schema', nspname, pg_get_userbyid(nspowner),
                     ARRAY(SELECT a::text FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) a ORDER BY 1))
      FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    UNION ALL
    SELECT concat_ws(' ', relname, relkind, pg_get_userbyid(relowner),
                     ARRAY(SELECT a::text FROM unnest(coalesce(relacl, acldefault('r', relowner))) a ORDER BY 1),
                     ARRAY(SELECT attname || attacl::text FROM pg_attribute
                            WHERE attrelid = c.oid AND attacl IS NOT NULL AND attacl::text <> '{}' ORDER BY 1))
      FROM pg_class c WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'default ' || defaclacl::text FROM pg_default_acl
     ORDER BY 1";

/// The name of the database, and of the role that owns it, of a product that is to have this slug.
fn named(slug: &str) -> String {
    format!("Shop {slug}")
}

/// What asks for the adoption of that database.
pub(crate) fn wanted(slug: &str) -> Value {
    let admin = json!({ "email": format!("admin@{slug}.example.com"), "password": PASSWORD });
    json!({ "slug": slug, "name": "A shop", "server": SERVER_NAME, "database": named(slug), "admin": admin })
}

/// Makes a database as a product has it that knows no Freehold; answers with what asks for its adoption.
pub(crate) async fn foreign(fleet: &Fleet, slug: &str) -> Value {
    assert_eq!(fleet.server, SERVER_NAME);
    let (name, server) = (named(slug), fleet.on_server("postgres"));
    let admin = AdminUrl::parse(&fleet.server_admin_url()).unwrap().credentials.role;
    server
        .run(&format!(
            "CREATE ROLE \"{name}\" LOGIN PASSWORD '{PASSWORD}';
             DO $$ BEGIN IF current_setting('server_version_num')::int >= 160000 THEN
                 EXECUTE 'GRANT \"{name}\" TO {admin} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE';
             END IF; END $$"
        ))
        .await;
    // Closed from its first moment: what everybody may enter is found by the tests of isolation of this fleet.
    let closed = format!("CREATE DATABASE \"{name}\" TEMPLATE template0 OWNER \"{name}\" ALLOW_CONNECTIONS false");
    server.run(&closed).await;
    server
        .run(&format!(
            "REVOKE CONNECT ON DATABASE \"{name}\" FROM PUBLIC; GRANT CONNECT ON DATABASE \"{name}\" TO {admin};
             ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS true"
        ))
        .await;
    server.run(&format!("COMMENT ON DATABASE \"{name}\" IS 'it''s a shop'")).await;
    let product = product_of_before();
    let reader = "GRANT SELECT ON projects TO pg_monitor; GRANT UPDATE (title) ON tasks TO PUBLIC";
    let rows = "INSERT INTO projects (id, name) VALUES (gen_random_uuid(), 'From before')";
    fleet.on_server(&name).run(&format!("SET ROLE \"{name}\"; {product}; {reader}; {rows}")).await;
    until_quiet(fleet, &name).await;
    wanted(slug)
}

/// Drops a database that was not adopted.
async fn discard(fleet: &Fleet, slug: &str) {
    let (name, server) = (named(slug), fleet.on_server("postgres"));
    server.run(&format!("DROP DATABASE \"{name}\" WITH (FORCE)")).await;
    server.run(&format!("DROP ROLE \"{name}\"")).await;
}

/// The product's tables without what is Freehold's.
pub(crate) fn product_of_before() -> String {
    let product = PRODUCT
        .replace("CONSTRAINT tasks_assignee_id_fkey REFERENCES freehold.users (id) ON DELETE SET NULL", "")
        .replace("REFERENCES freehold.users (id) ON DELETE SET NULL", "");
    assert!(!product.contains("REFERENCES freehold"));
    product
}

/// Waits until PostgreSQL has ended the sessions that are closed already.
async fn until_quiet(fleet: &Fleet, database: &str) {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
    let server = fleet.on_server("postgres");
    eventually("the end of all sessions", async || (server.value::<i64>(&sql).await == 0).then_some(())).await;
}

/// The verdict, once nobody is in the database any more.
async fn verdict(fleet: &Fleet, wanted: &Value) -> Value {
    until_quiet(fleet, wanted["database"].as_str().unwrap()).await;
    verdict_now(fleet, wanted).await
}

/// Asks for the adoption, once nobody is in the database any more.
async fn ask(fleet: &Fleet, wanted: &Value) -> Value {
    until_quiet(fleet, wanted["database"].as_str().unwrap()).await;
    fleet.operator().post(ADOPTIONS, wanted).await.expect(202)
}

async fn verdict_now(fleet: &Fleet, wanted: &Value) -> Value {
    let mut body = wanted.clone();
    body["dry_run"] = true.into();
    fleet.operator().post(ADOPTIONS, &body).await.expect(200)
}

async fn state(database: &Database) -> Vec<String> {
    database.values(STATE).await
}

fn codes(found: &Value) -> Vec<&str> {
    found["conflicts"].as_array().unwrap().iter().map(|conflict| conflict["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_running_product_moves_in_with_its_rows() {
    let fleet = fleet::alone().await;
    let slug = unique("shop");
    let wanted = foreign(&fleet, &slug).await;
    let database = fleet.on_server(&named(&slug));
    let before = state(&database).await;
    let found = verdict(&fleet, &wanted).await;
    assert_eq!((&found["verdict"], &found["schema_version"]), (&json!("ready"), &json!(1)), "{found}");
    assert_eq!(state(&database).await, before);

    let key = unique("key");
    until_quiet(&fleet, &named(&slug)).await;
    let made = fleet.operator().post_once(ADOPTIONS, &key, &wanted).await.expect(202);
    fleet.finished(made["operation_id"].as_str().unwrap()).await;
    // Asked again under the same key, the same tenant is told.
    let again = fleet.operator().post_once(ADOPTIONS, &key, &wanted).await.expect(201);
    assert_eq!((&again["id"], &again["state"], &again["schema_version"]), (&made["id"], &json!("active"), &json!(1)));

    let tokens = fleet.replica.anonymous(&slug).login(&format!("admin@{slug}.example.com"), PASSWORD).await.expect(200);
    let admin = fleet.replica.member(&slug, &tokens["access_token"].as_str().unwrap().into());
    assert_eq!(admin.get("/v1/projects").await.expect(200)["items"][0]["name"], "From before");
    admin.post("/v1/projects", &json!({ "name": "From now on" })).await.expect(201);
    let tenant = fleet.on_server(&made["id"].as_str().unwrap().replace("ten_", "tenant_"));
    let history: Vec<i32> = tenant.values("SELECT version FROM public.refinery_schema_history ORDER BY 1").await;
    assert_eq!(history, [1]);
    let left = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", named(&slug));
    assert_eq!(fleet.on_server("postgres").value::<i64>(&left).await, 0);
    // The former owner has no door to it, and nothing in it.
    let other = tenant.logged_in_as(&named(&slug), PASSWORD).connect().await;
    assert!(other.is_err_and(|error| error.to_string().contains("db error")), "the former owner enters");
    let owned = format!(
        "SELECT count(*) FROM pg_shdepend WHERE dbid <> 0 AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = '{}')",
        named(&slug)
    );
    assert_eq!(tenant.value::<i64>(&owned).await, 0);
    // fsck compares the whole schema with the reference.
    fleet.assert_clean().await;
}

#[tokio::test]
async fn a_schema_that_is_another_one_is_told_object_by_object_and_left() {
    let fleet = fleet::alone().await;
    let slug = unique("shop");
    let wanted = foreign(&fleet, &slug).await;
    let database = fleet.on_server(&named(&slug));
    let name = named(&slug);
    let change = "ALTER TABLE projects DROP COLUMN description; CREATE TABLE more (id int PRIMARY KEY)";
    database.run(&format!("SET ROLE \"{name}\"; {change}")).await;
    let before = state(&database).await;
    let found = verdict(&fleet, &wanted).await;
    assert_eq!(found["verdict"], "drifted", "{found}");
    let differences = found["differences"].as_array().unwrap();
    let of = |object: &str| differences.iter().find(|difference| difference["object"] == object);
    assert!(of("column public.projects.description").unwrap()["actual"].is_null(), "{found}");
    assert!(of("relation public.more").unwrap()["expected"].is_null(), "{found}");
    assert!(of("relation public.projects").is_none(), "owners and rights do not count: {found}");
    until_quiet(&fleet, &name).await;
    let refused = fleet.operator().post(ADOPTIONS, &wanted).await.problem(409, "schema_drift");
    assert!(refused["detail"].as_str().unwrap().contains("relation public.more"), "{refused}");
    assert_eq!(state(&database).await, before);
    fleet.operator().get(&format!("/platform/v1/tenants/{slug}")).await.problem(404, "not_found");
    discard(&fleet, &slug).await;
}

#[tokio::test]
async fn whatever_stands_in_the_way_is_named_at_once() {
    let fleet = fleet::alone().await;
    let slug = unique("shop");
    let wanted = foreign(&fleet, &slug).await;
    let database = fleet.on_server(&named(&slug));
    let name = named(&slug);
    for (made, code, mend) in [
        ("CREATE SCHEMA freehold", "schema_taken", "DROP SCHEMA freehold"),
        ("ALTER SCHEMA public OWNER TO \"NAME\"", "foreign_objects", "ALTER SCHEMA public OWNER TO pg_database_owner"),
        (
            "CREATE EXTENSION citext; CREATE TABLE hidden (id int); ALTER TABLE hidden OWNER TO \"NAME\";
             ALTER EXTENSION citext ADD TABLE hidden",
            "foreign_objects",
            "DROP EXTENSION citext",
        ),
        ("CREATE TABLE another (id int)", "foreign_objects", "DROP TABLE another"),
        ("CREATE PUBLICATION p", "foreign_objects", "DROP PUBLICATION p"),
        ("CREATE EXTENSION pg_stat_statements", "extension_not_allowed", "DROP EXTENSION pg_stat_statements"),
        (
            "ALTER DEFAULT PRIVILEGES FOR ROLE \"NAME\" GRANT SELECT ON TABLES TO pg_monitor",
            "foreign_objects",
            "ALTER DEFAULT PRIVILEGES FOR ROLE \"NAME\" REVOKE SELECT ON TABLES FROM pg_monitor",
        ),
        ("ALTER DATABASE \"NAME\" SET work_mem = '5MB'", "database_settings", "ALTER DATABASE \"NAME\" RESET ALL"),
        (
            "ALTER DATABASE \"NAME\" OWNER TO postgres",
            "owner_out_of_reach",
            "ALTER DATABASE \"NAME\" OWNER TO \"NAME\"",
        ),
        (
            "CREATE VIEW refinery_schema_history AS SELECT 1 AS version",
            "history_differs",
            "DROP VIEW refinery_schema_history",
        ),
    ] {
        let superuser: String = database.value("SELECT current_user::text").await;
        let made = made.replace("NAME", &name).replace("TO postgres", &format!("TO \"{superuser}\""));
        database.run(&made).await;
        let found = verdict(&fleet, &wanted).await;
        assert!(found["verdict"] == "conflict" && codes(&found).contains(&code), "{made}: {found}");
        database.run(&mend.replace("NAME", &name)).await;
    }
    discard(&fleet, &slug).await;
}

#[tokio::test]
async fn nobody_is_thrown_out_and_what_makes_no_sense_is_told() {
    let fleet = fleet::alone().await;
    let slug = unique("shop");
    let wanted = foreign(&fleet, &slug).await;
    let (name, database) = (named(&slug), fleet.on_server(&named(&slug)));
    // The product itself is still at work.
    let session = database.logged_in_as(&name, PASSWORD).connect().await.unwrap();
    let found = verdict_now(&fleet, &wanted).await;
    assert_eq!((&found["verdict"], codes(&found)), (&json!("conflict"), vec!["database_in_use"]), "{found}");
    let refused = fleet.operator().post(ADOPTIONS, &wanted).await.problem(409, "adoption_conflict");
    assert!(refused["detail"].as_str().unwrap().contains(&name), "{refused}");
    session.batch_execute("SELECT 1").await.unwrap();
    drop(session);
    for (field, value, code) in [
        ("database", json!("nobody's"), "unknown_database"),
        ("server", json!("nowhere"), "unknown_server"),
        ("version", json!(4711), "unknown_version"),
    ] {
        let mut wrong = wanted.clone();
        wrong[field] = value;
        fleet.operator().post(ADOPTIONS, &wrong).await.wrong_field(field, code);
    }
    let mut freeholds = wanted.clone();
    freeholds["database"] = "postgres".into();
    let found = verdict_now(&fleet, &freeholds).await;
    assert!(codes(&found).contains(&"database_taken"), "{found}");
    discard(&fleet, &slug).await;
}

#[tokio::test]
async fn what_cannot_be_adopted_after_all_is_given_back_as_it_was() {
    let fleet = fleet::alone().await;
    let slug = unique("shop");
    let wanted = foreign(&fleet, &slug).await;
    let database = fleet.on_server(&named(&slug));
    // Only the foreign key, which comes late, finds it.
    database.run("UPDATE projects SET created_by = gen_random_uuid()").await;
    let before = state(&database).await;
    let made = ask(&fleet, &wanted).await;
    let operation = failed(&fleet, made["operation_id"].as_str().unwrap()).await;
    let error = operation["error"].as_str().unwrap();
    assert!(error.starts_with("adoption_conflict: ") && error.contains("projects_created_by_fkey"), "{operation}");
    assert_eq!(state(&database).await, before);
    let role = made["id"].as_str().unwrap().replace("ten_", "tenant_");
    let left = format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '%{}%'", role.replace("tenant_", ""));
    assert_eq!(fleet.on_server("postgres").value::<i64>(&left).await, 0);
    fleet.assert_clean().await;

    // Mended, the same database moves in under the same slug.
    database.run("UPDATE projects SET created_by = NULL").await;
    let made = ask(&fleet, &wanted).await;
    fleet.finished(made["operation_id"].as_str().unwrap()).await;
    fleet.assert_clean().await;
}

/// Whatever the former owner has put where a session would run it runs with no rights but its own.
#[tokio::test]
async fn nothing_of_the_former_owners_runs_as_the_administrator() {
    let fleet = fleet::alone().await;
    let slug = unique("shop");
    let wanted = foreign(&fleet, &slug).await;
    let (name, database) = (named(&slug), fleet.on_server(&named(&slug)));
    let administrator = AdminUrl::parse(&fleet.server_admin_url()).unwrap().credentials.role;
    // A sequence keeps what was done to it in a transaction that is undone.
    let trap = format!(
        "SET ROLE \"{name}\";
         CREATE SEQUENCE caught;
         GRANT ALL ON SEQUENCE caught TO PUBLIC;
         CREATE FUNCTION trap(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
             IF current_user = '{administrator}' THEN PERFORM nextval('public.caught'); END IF; RETURN $1;
         END $$;
         CREATE FUNCTION trapped(name, name) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
             PERFORM public.trap(1); RETURN $1 OPERATOR(pg_catalog.=) $2;
         END $$;
         CREATE OPERATOR = (LEFTARG = name, RIGHTARG = name, FUNCTION = trapped);
         CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255),
                                               checksum varchar(255));
         CREATE INDEX ON refinery_schema_history ((version + trap(1)));
         CREATE STATISTICS trapped ON (version + trap(1)), name FROM refinery_schema_history;
         CREATE INDEX refinery_schema_history_i ON projects (trap(1))"
    );
    database.run(&trap).await;
    let found = verdict(&fleet, &wanted).await;
    let objects: Vec<_> =
        found["differences"].as_array().unwrap().iter().map(|one| one["object"].as_str().unwrap()).collect();
    assert!(objects.contains(&"index public.refinery_schema_history_i"), "{found}");
    // A setting for the database would have its operator taken for PostgreSQL's.
    database.run(&format!("ALTER DATABASE \"{name}\" SET search_path = public, pg_catalog")).await;
    let set = verdict(&fleet, &wanted).await;
    assert_eq!((&set["verdict"], codes(&set)), (&json!("conflict"), vec!["database_settings"]), "{set}");
    database.run(&format!("ALTER DATABASE \"{name}\" RESET ALL")).await;
    assert!(!database.value::<bool>("SELECT is_called FROM caught").await, "the trap sprang");
    let planned = format!("SET ROLE \"{administrator}\"; SELECT version FROM refinery_schema_history ORDER BY version");
    database.run(&format!("GRANT SELECT ON refinery_schema_history TO \"{administrator}\"; {planned}")).await;
    assert!(database.value::<bool>("SELECT is_called FROM caught").await, "it was none");
    let member = format!(
        "SELECT count(*) FROM pg_auth_members WHERE roleid = (SELECT oid FROM pg_roles WHERE rolname = '{name}')
            AND member = (SELECT oid FROM pg_roles WHERE rolname = '{administrator}')
            AND current_setting('server_version_num')::int < 160000"
    );
    assert_eq!(database.value::<i64>(&member).await, 0, "the administrative role has kept the former owner's rights");
    discard(&fleet, &slug).await;
}

#[tokio::test]
async fn rights_of_every_kind_come_back_with_the_database() {
    let fleet = fleet::alone().await;
    let slug = unique("shop");
    let wanted = foreign(&fleet, &slug).await;
    let (name, database, reader) = (named(&slug), fleet.on_server(&named(&slug)), unique("reader"));
    let grants = format!(
        "CREATE ROLE \"{reader}\"; GRANT CONNECT ON DATABASE \"{name}\" TO \"{reader}\" WITH GRANT OPTION;
         SET ROLE \"{name}\"; REVOKE DELETE ON projects FROM \"{name}\";
         GRANT SELECT, UPDATE (name) ON projects TO \"{reader}\" WITH GRANT OPTION"
    );
    database.run(&grants).await;
    // Only the foreign key, which comes late, finds it.
    database.run("UPDATE projects SET created_by = gen_random_uuid()").await;
    let before = state(&database).await;
    let made = ask(&fleet, &wanted).await;
    let failed = failed(&fleet, made["operation_id"].as_str().unwrap()).await;
    assert!(failed["error"].as_str().unwrap().starts_with("adoption_conflict: "), "{failed}");
    assert_eq!(state(&database).await, before);
    fleet.assert_clean().await;
    discard(&fleet, &slug).await;
}
