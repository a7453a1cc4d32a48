//! What a tenant's role tries in its own database. Two kinds: statements, which PostgreSQL must refuse for want
//! of a right and which run in a transaction that is rolled back; and questions to the catalogue, which must find
//! nothing, for what cannot be tried without leaving a trace.

use tokio_postgres::{Client, error::SqlState};

use crate::{
    error::{Error, Result},
    servers::is_sqlstate,
};

/// What was tried, on what, and what came of it.
pub(super) type Success = (&'static str, String, String);

/// Name of the attempt, its target, the statement.
type Statement = (&'static str, &'static str, &'static str);

const STATEMENTS: [Statement; 28] = [
    ("create_table", "public", "CREATE TABLE public.freehold_probe (id int)"),
    ("create_table", "freehold", "CREATE TABLE freehold.freehold_probe (id int)"),
    ("create_schema", "database", "CREATE SCHEMA freehold_probe"),
    ("create_temporary_table", "database", "CREATE TEMPORARY TABLE freehold_probe (id int)"),
    ("insert", "freehold.refinery_schema_history", "INSERT INTO freehold.refinery_schema_history (version) VALUES (0)"),
    ("update", "freehold.refinery_schema_history", "UPDATE freehold.refinery_schema_history SET name = name"),
    ("delete", "freehold.refinery_schema_history", "DELETE FROM freehold.refinery_schema_history"),
    ("truncate", "freehold.refinery_schema_history", "TRUNCATE freehold.refinery_schema_history"),
    ("alter_table", "freehold.refinery_schema_history", "ALTER TABLE freehold.refinery_schema_history ADD probe int"),
    ("drop_table", "freehold.refinery_schema_history", "DROP TABLE freehold.refinery_schema_history"),
    ("insert", "public.refinery_schema_history", "INSERT INTO public.refinery_schema_history (version) VALUES (0)"),
    ("update", "public.refinery_schema_history", "UPDATE public.refinery_schema_history SET name = name"),
    ("delete", "public.refinery_schema_history", "DELETE FROM public.refinery_schema_history"),
    ("truncate", "public.refinery_schema_history", "TRUNCATE public.refinery_schema_history"),
    ("alter_table", "public.refinery_schema_history", "ALTER TABLE public.refinery_schema_history ADD probe int"),
    ("drop_table", "public.refinery_schema_history", "DROP TABLE public.refinery_schema_history"),
    // Whoever may add a line may not change one. No row is touched, and PostgreSQL asks for the right all the same.
    ("update", "freehold.audit_events", "UPDATE freehold.audit_events SET action = action WHERE false"),
    ("delete", "freehold.audit_events", "DELETE FROM freehold.audit_events WHERE false"),
    ("drop_table", "freehold.audit_events", "DROP TABLE freehold.audit_events"),
    ("set_role", "freehold_owner", "SET LOCAL ROLE freehold_owner"),
    ("create_role", "server", "CREATE ROLE freehold_probe"),
    ("alter_role", "freehold_owner", "ALTER ROLE freehold_owner LOGIN"),
    ("grant_role", "freehold_owner", "GRANT freehold_owner TO CURRENT_USER"),
    ("read_verifiers", "pg_authid", "SELECT rolpassword FROM pg_catalog.pg_authid LIMIT 1"),
    ("run_program", "server", "COPY (SELECT 1) TO PROGRAM 'true'"),
    ("read_server_file", "server", "SELECT pg_catalog.pg_read_file('PG_VERSION')"),
    ("import_server_file", "server", "SELECT pg_catalog.lo_import('/dev/null')"),
    ("skip_constraints", "session", "SET LOCAL session_replication_role = replica"),
];

/// Name of the attempt and a query whose every row is the target of a success.
type Question = (&'static str, &'static str);

const QUESTIONS: [Question; 8] = [
    (
        "role_attribute",
        "SELECT attribute FROM pg_roles, LATERAL (VALUES
             ('SUPERUSER', rolsuper), ('CREATEDB', rolcreatedb), ('CREATEROLE', rolcreaterole),
             ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls)) AS held (attribute, has)
          WHERE rolname = current_user AND has",
    ),
    (
        "membership",
        "SELECT rolname::text FROM pg_roles
          WHERE rolname NOT IN (current_user, 'freehold_tenant') AND pg_has_role(oid, 'MEMBER')",
    ),
    (
        "database_right",
        "SELECT datname || ': ' || held FROM pg_database, unnest(ARRAY['CREATE', 'TEMPORARY']) AS held
          WHERE datname = current_database() AND has_database_privilege(oid, held)",
    ),
    ("create_in_schema", "SELECT nspname::text FROM pg_namespace WHERE has_schema_privilege(oid, 'CREATE')"),
    (
        "table_right",
        "SELECT oid::regclass || ': ' || held
           FROM pg_class, unnest(ARRAY['TRUNCATE', 'REFERENCES', 'TRIGGER']) AS held
          WHERE relkind IN ('r', 'p') AND has_table_privilege(oid, held)",
    ),
    (
        "ownership",
        "SELECT classid::regclass || ' ' || objid FROM pg_shdepend
          WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
            AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = current_user)",
    ),
    (
        "outward_extension",
        "SELECT extname::text FROM pg_extension
          WHERE extname IN ('dblink', 'postgres_fdw', 'file_fdw', 'adminpack', 'plpython3u', 'plperlu')",
    ),
    ("foreign_server", "SELECT srvname::text FROM pg_foreign_server WHERE has_server_privilege(oid, 'USAGE')"),
];

/// Tries everything in the tenant's session, counts the `attempts` and answers with what was possible.
pub(super) async fn run(session: &Client, attempts: &mut u64) -> Result<Vec<Success>> {
    let mut successes = Vec::new();
    for (attempt, target, statement) in STATEMENTS {
        *attempts += 1;
        if is_possible(session, attempt, statement).await? {
            successes.push((attempt, target.to_owned(), "the statement was not refused".to_owned()));
        }
    }
    for (attempt, question) in QUESTIONS {
        *attempts += 1;
        for row in session.query(question, &[]).await? {
            successes.push((attempt, row.try_get(0)?, "the role has it and should not".to_owned()));
        }
    }
    Ok(successes)
}

/// Runs the statement in a transaction that is always rolled back. Only a missing right counts as a refusal.
async fn is_possible(session: &Client, attempt: &str, statement: &str) -> Result<bool> {
    session.batch_execute("BEGIN").await?;
    let tried = session.batch_execute(statement).await;
    session.batch_execute("ROLLBACK").await?;
    match tried {
        Ok(()) => Ok(true),
        Err(error) if is_sqlstate(&error, &SqlState::INSUFFICIENT_PRIVILEGE) => Ok(false),
        Err(error) => match Error::from(error) {
            Error::Internal(cause) => Err(Error::Internal(cause.context(format!("the attempt {attempt} is void")))),
            other => Err(other),
        },
    }
}
