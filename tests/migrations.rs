//! Migration sets: published whole, rehearsed first, used by every tenant made from then on.

use std::time::Duration;

use freehold::{Product, types::Clock};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    answer::Answer,
    eventually,
    fleet::{self, Fleet},
    replica::Replica,
    unique,
};

pub(crate) const MIGRATIONS: &str = "/platform/v1/migrations";

/// The published files of the product as a client would send them again.
pub(crate) async fn published(fleet: &Fleet) -> Vec<Value> {
    let rows = fleet.control().connect().await.unwrap();
    let rows = rows
        .query(
            "SELECT 'V' || version || '__' || name || '.sql', sql FROM migrations
              WHERE stream = 'product' ORDER BY version",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| json!({ "name": row.get::<_, &str>(0), "sql": row.get::<_, &str>(1) })).collect()
}

/// Everything that a publication may leave behind.
async fn traces(fleet: &Fleet) -> (i64, Vec<String>, Vec<String>) {
    let databases =
        "SELECT datname::text FROM pg_database UNION ALL SELECT rolname || rolcanlogin FROM pg_roles ORDER BY 1";
    let count = fleet.control().value("SELECT count(*) FROM migrations").await;
    (
        count,
        fleet.on_platform_server("postgres").values(databases).await,
        fleet.on_server("postgres").values(databases).await,
    )
}

/// Statements that the linter refuses, each with a waiver of the rules that it breaks: what is tested with them is the
/// wall behind the linter.
pub(crate) fn waived(statements: &[(&str, &str)]) -> String {
    let waived = |(rules, sql): &(&str, &str)| {
        let waivers = rules.split_whitespace().map(|rule| format!("-- freehold:allow {rule}: the wall is tried\n"));
        format!("{}{sql};\n", waivers.collect::<String>())
    };
    statements.iter().map(waived).collect()
}

pub(crate) fn set(files: &[Value], name: &str, sql: &str) -> Value {
    let mut files = files.to_vec();
    files.push(json!({ "name": name, "sql": sql }));
    json!({ "files": files })
}

#[tokio::test]
async fn a_set_that_extends_the_newest_is_what_new_tenants_get() {
    let fleet = fleet::alone().await;
    let (operator, old) = (fleet.operator(), fleet.tenant().await);
    let files = published(&fleet).await;
    let next = files.len() + 1;
    let table = unique("extra").replace('-', "_");
    let sql = format!("CREATE TABLE {table} (id bigint PRIMARY KEY)");
    let extended = set(&files, &format!("V{next}__{table}.sql"), &sql);
    let answer = operator.post(MIGRATIONS, &extended).await.expect(200);
    assert_eq!(answer, json!({ "version": next, "added": 1 }));
    assert_eq!(operator.post(MIGRATIONS, &extended).await.expect(200), json!({ "version": next, "added": 0 }));
    let listed = operator.get(MIGRATIONS).await.expect(200);
    let streams: Vec<_> = listed["items"].as_array().unwrap().iter().map(|file| file["stream"].clone()).collect();
    assert_eq!(streams.iter().filter(|stream| *stream == "product").count(), next);
    assert!(streams.iter().any(|stream| stream == "freehold") && streams.is_sorted_by_key(ToString::to_string));
    let new = fleet.tenant().await;
    let version = operator.get(&format!("/platform/v1/tenants/{}", new.id)).await.expect(200)["schema_version"].clone();
    assert_eq!(version, next);
    let exists = format!("SELECT to_regclass('{table}') IS NOT NULL");
    assert!(new.database().value::<bool>(&exists).await);
    assert!(!old.database().value::<bool>(&exists).await, "until a rollout");
    let owner = format!("SELECT tableowner::text FROM pg_tables WHERE tablename = '{table}'");
    assert_eq!(new.database().value::<String>(&owner).await, "freehold_owner");
    let granted = format!("SELECT has_table_privilege('{}', '{table}', 'INSERT')", new.database_name());
    assert!(new.database().value::<bool>(&granted).await, "the tenant's role may write to the new table");
}

#[tokio::test]
async fn a_set_that_diverges_or_does_not_apply_changes_nothing() {
    let fleet = fleet::alone().await;
    let operator = fleet.operator();
    let files = published(&fleet).await;
    let next = files.len() + 1;
    let before = traces(&fleet).await;
    let mut edited = files.clone();
    edited[0]["sql"] = json!(format!("{} -- edited", edited[0]["sql"].as_str().unwrap()));
    let mut renamed = files.clone();
    renamed[0]["name"] = json!("V1__another_name.sql");
    for diverged in [edited, renamed, Vec::new()] {
        operator.post(MIGRATIONS, &json!({ "files": diverged })).await.problem(409, "migrations_diverged");
    }
    let intruder = ("role-change", "CREATE ROLE intruder");
    let out_of_the_role = ("set-role", "RESET ROLE");
    let login = ("role-change", "ALTER ROLE freehold_owner LOGIN");
    for (statements, words) in [
        (&[("", "CREATE TABLE projects (id int)")][..], "already exists"),
        (&[("", "SELECT 1/0")], "division by zero"),
        (&[("syntax", "CREATE TABL x ()")], "syntax error"),
        (&[intruder], "permission denied"),
        (&[out_of_the_role, intruder], "permission denied"),
        (&[out_of_the_role, ("transaction-control", "COMMIT"), login], "may not begin or end a transaction"),
        (&[out_of_the_role, ("", "CREATE TABLE foundling (id int)")], "did not stay the owner"),
        (&[("", "CREATE TABLE half (id int)"), ("", "SELECT * FROM nowhere")], "does not exist"),
    ] {
        let sql = &waived(statements);
        let answer = operator.post(MIGRATIONS, &set(&files, &format!("V{next}__bad.sql"), sql)).await;
        answer.wrong_field("files", "does_not_apply");
        assert!(answer.text().contains(words), "{sql}: {}", answer.text());
        assert!(answer.text().contains("__bad.sql") && !answer.text().contains("internal error"), "{}", answer.text());
    }
    let gap = set(&files[1..], &format!("V{next}__next.sql"), "SELECT 1");
    operator.post(MIGRATIONS, &gap).await.wrong_field("files[0].name", "version_gap");
    let empty = set(&files, &format!("V{next}__empty.sql"), "-- nothing /* here */");
    let field = format!("files[{}].sql", next - 1);
    operator.post(MIGRATIONS, &empty).await.wrong_field(&field, "invalid_migration");
    for name in ["no_version.sql", "V3_single.sql", "V0__zero.sql"] {
        let answer = operator.post(MIGRATIONS, &set(&files, name, "SELECT 1")).await;
        let wrong = answer.wrong_fields();
        assert!(wrong[0].0.starts_with("files") && wrong[0].0.ends_with("name"), "{name}: {wrong:?}");
    }
    let log = fleet::logged();
    let kept: Vec<_> = log.lines().filter(|line| line.contains("cleared away")).collect();
    assert_eq!(traces(&fleet).await, before, "{kept:#?}");
    fleet.tenant().await;
}

/// The example with the published migrations and one more file, as a team compiles them in.
fn product_with(files: &[Value], name: &str, sql: &str) -> Product {
    let leaked = |text: &str| -> &'static str { text.to_owned().leak() };
    let text = |file: &Value, member: &str| leaked(file[member].as_str().unwrap());
    let mut migrations: Vec<_> = files.iter().map(|file| (text(file, "name"), text(file, "sql"))).collect();
    migrations.push((leaked(name), leaked(sql)));
    Product { migrations, ..freehold::product::product() }
}

#[tokio::test]
async fn a_program_whose_migrations_do_not_apply_publishes_none_and_serves() {
    let fleet = fleet::alone().await;
    let (files, before) = (published(&fleet).await, traces(&fleet).await);
    let table = unique("nowhere").replace('-', "_");
    let name = format!("V{}__mistake.sql", files.len() + 1);
    let broken = product_with(&files, &name, &format!("CREATE TABLE half (id int); SELECT * FROM {table}"));
    let replica = fleet.replica_of(broken).await;
    let anonymous = replica.admin_anonymous();
    let ready = eventually("a replica that says so", async || {
        let ready = anonymous.get("/health/ready").await.expect(200);
        (ready["dependencies"]["migrations"]["status"] == "down").then_some(ready)
    })
    .await;
    assert_eq!(ready["status"], "degraded", "{ready}");
    assert!(!ready.to_string().contains(&table), "what PostgreSQL says is for operators: {ready}");
    let cause = fleet::logged().lines().find(|line| line.contains(&table)).map(str::to_owned).unwrap_or_default();
    assert!(cause.contains("ERROR") && cause.contains("are not published"), "{cause}");
    assert_eq!(traces(&fleet).await, before);
    fleet.tenant().await;

    // The linter is asked before PostgreSQL is.
    let dangerous = fleet.replica_of(product_with(&files, &name, &format!("CREATE ROLE {table}"))).await;
    eventually("a replica that says so", async || {
        let ready = dangerous.admin_anonymous().get("/health/ready").await.expect(200);
        (ready["dependencies"]["migrations"]["status"] == "down").then_some(())
    })
    .await;
    let refused = format!("the linter refuses {name}, line 1: ");
    assert!(fleet::logged().lines().any(|line| line.contains(&refused) && line.contains("(role-change)")));
    assert_eq!(published(&fleet).await, files);

    // The mistake is mended in the same file, since nobody has seen it.
    let sql = format!("CREATE TABLE {table} (id bigint PRIMARY KEY)");
    let mended = fleet.replica_of(product_with(&files, &name, &sql)).await;
    let status = mended.admin_anonymous().get("/health/ready").await.expect(200)["dependencies"]["migrations"].clone();
    assert_eq!((published(&fleet).await.len(), &status["status"]), (files.len() + 1, &json!("up")));
    let exists = format!("SELECT to_regclass('{table}') IS NOT NULL");
    assert!(fleet.tenant().await.database().value::<bool>(&exists).await);
}

#[tokio::test]
async fn a_program_with_other_migrations_than_the_published_refuses_to_serve_and_an_older_one_does_not() {
    let fleet = fleet::alone().await;
    let files = published(&fleet).await;
    let mut edited = files.clone();
    edited[0]["sql"] = json!(format!("{} -- edited", edited[0]["sql"].as_str().unwrap()));
    let name = format!("V{}__next.sql", files.len() + 1);
    let refusal = fleet.refusal_of(product_with(&edited, &name, "SELECT 1")).await;
    assert_eq!(refusal.code(), "migrations_diverged");
    let (told, first) = (refusal.to_string(), edited[0]["name"].as_str().unwrap());
    assert!(told.contains(&format!("{first} differs")) && told.contains("--reset"), "{told}");
    assert_eq!(published(&fleet).await, files);
    let older = Product { migrations: Vec::new(), oldest_version: 0, ..freehold::product::product() };
    let replica = fleet.replica_of(older).await;
    replica.admin_anonymous().get("/health/ready").await.expect(200);
    assert_eq!(published(&fleet).await, files);
}

#[tokio::test]
async fn a_bootstrap_with_a_mistake_publishes_nothing_and_can_be_done_again() {
    let broken = product_with(&[], "V1__mistake.sql", "CREATE TABL projects (id int)");
    let (error, published) = Fleet::failed_bootstrap(broken).await;
    assert!(error.chain().contains("syntax error"), "{}", error.chain());
    assert_eq!(published, 0);
}

/// What `pg_dump` writes before and after the tables.
const BASELINE: &str = "--
-- PostgreSQL database dump
--
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.invoices (id bigint NOT NULL, total numeric(12,2));
ALTER TABLE public.invoices OWNER TO freehold_owner;
ALTER TABLE ONLY public.invoices ADD CONSTRAINT invoices_pkey PRIMARY KEY (id);
--
-- PostgreSQL database dump complete
--
";

#[tokio::test]
async fn a_baseline_that_pg_dump_wrote_is_published() {
    let fleet = fleet::alone().await;
    let files = published(&fleet).await;
    let next = files.len() + 1;
    // The first file of a product may set time-outs; this one is a later file.
    let waived = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
    let baseline = waived.iter().fold(BASELINE.to_owned(), |baseline, setting| {
        let allowed = format!("-- freehold:allow timeout-override: pg_dump writes it\nSET {setting}");
        baseline.replace(&format!("SET {setting}"), &allowed)
    });
    let mut set = set(&files, &format!("V{next}__baseline.sql"), &baseline);
    let more = json!({ "name": format!("V{}__more.sql", next + 1), "sql": "CREATE TABLE baseline_more (id int)" });
    set["files"].as_array_mut().unwrap().push(more);
    fleet.operator().post(MIGRATIONS, &set).await.expect(200);
    let tenant = fleet.tenant().await;
    let both = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname IN ('invoices', 'baseline_more')";
    assert_eq!(tenant.database().values::<String>(both).await, ["public", "public"]);
    fleet.assert_clean().await;
}

/// How a file is refused: on which member, with which code, in which line.
type Refusal = (&'static str, &'static str, usize);

/// Sets that are bad by their new file: how much its version is beyond the next one, how its name begins, its text, and
/// how it is refused.
const BAD: [(i64, &str, &str, Refusal); 17] = [
    (1, "V", "SELECT 1;", ("name", "version_gap", 1)),
    (-1, "V", "SELECT 1;", ("name", "duplicate_version", 1)),
    (0, "v", "SELECT 1;", ("name", "invalid_file_name", 1)),
    (0, "V0", "SELECT 1;", ("name", "invalid_file_name", 1)),
    (0, "V", "\u{feff}SELECT 1;", ("sql", "invalid_migration", 1)),
    (0, "V", "SELECT 1;\nSELECT 2;\r\n", ("sql", "invalid_migration", 2)),
    (0, "V", "-- nothing /* here */", ("sql", "invalid_migration", 1)),
    (0, "V", "CREATE TABLE a (id uuid PRIMARY KEY);\nCREATE TABL b (id uuid PRIMARY KEY);", ("sql", "syntax", 2)),
    (
        0,
        "V",
        "-- freehold:no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a ON tasks (title);\nSELECT 1;",
        ("sql", "no-transaction-one-statement", 3),
    ),
    (0, "V", "SELECT 1;\n\nCOMMIT;", ("sql", "transaction-control", 3)),
    (0, "V", "CREATE ROLE intruder;", ("sql", "role-change", 1)),
    (0, "V", "-- freehold:no-transaction\nALTER SYSTEM SET work_mem = '1GB';", ("sql", "alter-system", 2)),
    (0, "V", "COPY projects\nFROM PROGRAM 'true';", ("sql", "copy-program", 1)),
    (0, "V", "-- freehold:no-transaction\nDROP DATABASE acme;", ("sql", "drop-database", 2)),
    (0, "V", "SELECT 1;\nDO $$ BEGIN PERFORM 1; END $$;", ("sql", "do-block", 2)),
    (
        0,
        "V",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql\nSECURITY DEFINER AS 'SELECT 1';",
        ("sql", "security-definer", 2),
    ),
    (0, "V", "-- freehold:allow do-block:\nDO $$ BEGIN PERFORM 1; END $$;", ("sql", "waiver-reason", 1)),
];

#[tokio::test]
async fn a_bad_set_is_refused_with_its_file_and_line_and_leaves_nothing() {
    let fleet = fleet::alone().await;
    let operator = fleet.operator();
    let files = published(&fleet).await;
    let before = traces(&fleet).await;
    for (beyond, letter, sql, (member, code, line)) in BAD {
        let version = i64::try_from(files.len()).unwrap() + 1 + beyond;
        let name = format!("{letter}{version}__bad.sql");
        let answer = operator.post(MIGRATIONS, &set(&files, &name, sql)).await;
        answer.wrong_field(&format!("files[{}].{member}", files.len()), code);
        assert!(answer.text().contains(&format!("{name}, line {line}: ")), "{sql}: {}", answer.text());
    }
    // No text in JSON may hold a NUL, whatever it is for.
    let name = format!("V{}__bad.sql", files.len() + 1);
    let answer = operator.post(MIGRATIONS, &set(&files, &name, "SELECT 1;\n\nSELECT '\0';")).await;
    answer.wrong_field(&format!("files[{}].sql", files.len()), "invalid_format");
    assert!(answer.text().contains("line 3: must not hold the character NUL"), "{}", answer.text());
    // A published file that has changed.
    let mut changed = files.clone();
    changed[0]["sql"] = json!(changed[0]["sql"].as_str().unwrap().replacen('\n', "\n-- changed\n", 1));
    let answer = operator.post(MIGRATIONS, &set(&changed, &format!("V{}__x.sql", files.len() + 1), "SELECT 1")).await;
    let told = answer.problem(409, "migrations_diverged")["detail"].as_str().unwrap().to_owned();
    let first = files[0]["name"].as_str().unwrap();
    assert!(told.starts_with(&format!("{first}, line 2, is another: ")), "{told}");
    // What is not UTF-8 is no JSON. The command tells file and line: tests/linter.rs.
    let body = [b"{\"files\":[{\"name\":\"V1__a.sql\",\n\"sql\":\"SELECT '", &b"\xe4"[..], b"'\"}]}"].concat();
    let request = operator.request(Method::POST, MIGRATIONS).header("content-type", "application/json");
    let told = Answer::to(request.body(body)).await.problem(400, "malformed_json");
    assert!(told["detail"].as_str().unwrap().contains("line 2"), "{told}");
    // The index is that of the request, in whatever order the files come.
    let next = files.len() + 1;
    let mut turned =
        vec![json!({ "name": format!("V{next}__bad.sql"), "sql": "DROP TABLE tasks; DROP TABLE projects" })];
    turned.extend(files.iter().cloned());
    let answer = operator.post(MIGRATIONS, &json!({ "files": turned })).await;
    let wrong = answer.wrong_fields();
    assert_eq!(wrong.len(), 2, "all at once: {wrong:?}");
    assert!(wrong.iter().all(|(field, code)| field == "files[0].sql" && code == "drop-table"), "{wrong:?}");
    assert_eq!(traces(&fleet).await, before);
}

#[tokio::test]
async fn a_published_file_is_not_linted_again_and_advice_refuses_nothing() {
    let fleet = fleet::alone().await;
    let (operator, mut files) = (fleet.operator(), published(&fleet).await);
    let regretted = unique("regretted").replace('-', "_");
    let name = format!("V{}__{regretted}.sql", files.len() + 1);
    let sql = format!("CREATE TABLE {regretted} (id int, name varchar(20))");
    operator.post(MIGRATIONS, &set(&files, &name, &sql)).await.expect(200);
    files = published(&fleet).await;
    // As if the rule had come after the file: it is published with what the linter refuses today.
    let danger = format!("UPDATE {regretted} SET name = ''");
    let version = files.len() + 1;
    fleet
        .control()
        .run(&format!(
            "INSERT INTO migrations (stream, version, name, sql, published_by)
             VALUES ('product', {version}, '{regretted}', $${danger}$$, 'test')"
        ))
        .await;
    files = published(&fleet).await;
    let answer = operator.post(MIGRATIONS, &set(&files, &format!("V{}__next.sql", version + 1), "SELECT 1")).await;
    assert_eq!(answer.expect(200), json!({ "version": version + 1, "added": 1 }));
}

#[tokio::test]
async fn two_publications_at_once_leave_one_history() {
    let fleet = fleet::alone().await;
    let operator = fleet.operator();
    let files = published(&fleet).await;
    let name = |which: &str| format!("V{}__{which}.sql", files.len() + 1);
    let publish = async |which: &str| operator.post(MIGRATIONS, &set(&files, &name(which), "SELECT 1")).await;
    let answers = join_all(["left", "right"].map(publish)).await;
    let mut statuses: Vec<_> = answers.iter().map(Answer::status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(published(&fleet).await.len(), files.len() + 1);
}

#[tokio::test]
async fn publications_of_one_set_at_once_all_end_alike() {
    let fleet = fleet::alone().await;
    let operator = fleet.operator();
    let files = published(&fleet).await;
    let next = files.len() + 1;
    let all_publish = async |sql: &str| {
        let body = set(&files, &format!("V{next}__same.sql"), sql);
        join_all((0..6).map(|_| operator.post(MIGRATIONS, &body))).await
    };
    let refused = all_publish("SELECT 1 / 0").await;
    for answer in &refused {
        answer.wrong_field("files", "does_not_apply");
        assert!(answer.text().contains("division by zero"), "{}", answer.text());
    }
    let answers = all_publish("SELECT 1").await;
    let mut added: Vec<_> = answers
        .iter()
        .map(|answer| {
            let told = answer.expect(200);
            assert_eq!(told["version"], next);
            told["added"].as_i64().unwrap()
        })
        .collect();
    added.sort_unstable();
    assert_eq!(added, [0, 0, 0, 0, 0, 1]);
    assert_eq!(published(&fleet).await.len(), next);
    fleet.assert_clean().await;
}

#[tokio::test]
async fn what_becomes_of_a_publication_is_logged_though_nobody_waits_for_it() {
    let fleet = fleet::alone().await;
    let operator = fleet.operator();
    let files = published(&fleet).await;
    let next = files.len() + 1;
    let (nowhere, table) = (unique("nowhere").replace('-', "_"), unique("somewhere").replace('-', "_"));
    for (sql, told) in [
        (format!("SELECT pg_sleep(0.5); SELECT * FROM {nowhere}"), "are not published"),
        (format!("SELECT pg_sleep(0.5); CREATE TABLE {table} (id uuid PRIMARY KEY)"), "published migrations"),
    ] {
        let id = unique("gone");
        let request = operator.request(Method::POST, MIGRATIONS).header("x-request-id", &id);
        let request = request.timeout(Duration::from_millis(300));
        let sent = request.json(&set(&files, &format!("V{next}__slow.sql"), &sql)).send().await;
        assert!(sent.is_err_and(|error| error.is_timeout()), "the client is gone");
        let line = eventually("the outcome in the log", async || {
            fleet::logged().lines().find(|line| line.contains(told) && line.contains(&id)).map(str::to_owned)
        })
        .await;
        let named =
            if told == "published migrations" { format!("\"migrations.version\":{next}") } else { nowhere.clone() };
        assert!(line.contains(&named), "{line}");
    }
    eventually("the end of the publication", async || (published(&fleet).await.len() == next).then_some(())).await;
}

#[tokio::test]
async fn what_the_owner_could_not_read_is_refused_because_no_archive_would_have_it() {
    let fleet = fleet::alone().await;
    let files = published(&fleet).await;
    let made = "CREATE TABLE secrets (id uuid PRIMARY KEY)";
    let forced = "ALTER TABLE secrets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY";
    for (statements, told) in [
        (&[("", made), ("", forced)][..], "table public.secrets (FORCE ROW LEVEL SECURITY)"),
        (
            &[("", made), ("", "REVOKE ALL ON secrets FROM freehold_owner")],
            "table public.secrets (no right to read it)",
        ),
    ] {
        let body = set(&files, &format!("V{}__x.sql", files.len() + 1), &waived(statements));
        let answer = fleet.operator().post(MIGRATIONS, &body).await;
        answer.wrong_field("files", "does_not_apply");
        assert!(answer.text().contains(told), "{}", answer.text());
    }
    // A dump reads the partitions, where the policies of the table that they are parts of do not hold.
    let table = unique("parts").replace('-', "_");
    let parent = format!("CREATE TABLE {table} (id uuid PRIMARY KEY) PARTITION BY HASH (id)");
    let part = format!("CREATE TABLE {table}_0 PARTITION OF {table} FOR VALUES WITH (MODULUS 1, REMAINDER 0)");
    let forced = format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
    let next = files.len() + 1;
    let body = set(&files, &format!("V{next}__x.sql"), &waived(&[("", &parent), ("", &part), ("", &forced)]));
    fleet.operator().post(MIGRATIONS, &body).await.expect(200);
    fleet.control().run(&format!("DELETE FROM migrations WHERE stream = 'product' AND version = {next}")).await;
    fleet.assert_clean().await;
}

#[tokio::test]
async fn any_number_of_replicas_migrate_an_empty_control_database_at_once() {
    let fleet = fleet::alone().await;
    let database = unique("control").replace('-', "_");
    fleet.on_platform_server("postgres").run(&format!("CREATE DATABASE {database} OWNER freehold_control")).await;
    let url = fleet.setting("FREEHOLD_CONTROL_URL").replace("/freehold_control?", &format!("/{database}?"));
    let settings = fleet.settings_with(&[("FREEHOLD_CONTROL_URL", &url)]);
    let replicas = join_all((0..4).map(|_| Replica::make(&settings, Clock::default()))).await;
    let reports = join_all(replicas.iter().map(|replica| replica.app().migrate_control())).await;
    let applied: Vec<_> = reports.into_iter().map(|report| report.unwrap().applied.len()).collect();
    let own = fleet.on_platform_server(&database);
    let history: i64 = own.value("SELECT count(*) FROM refinery_schema_history").await;
    assert!(history > 0);
    assert_eq!(i64::try_from(applied.iter().sum::<usize>()).unwrap(), history, "each by one of them: {applied:?}");
    // It is open to PUBLIC, as others that use this Freehold would find.
    fleet.on_platform_server("postgres").run(&format!("DROP DATABASE {database} WITH (FORCE)")).await;
}
