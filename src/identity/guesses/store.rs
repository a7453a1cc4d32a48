//! All SQL on the table `sign_in_attempts`. It is there from [`GUESSES_SINCE`](super::GUESSES_SINCE) on.
//!
//! The time is PostgreSQL's own, at the moment that a row is held. Rows are locked in the order of their digests, in every
//! statement that locks several.

use std::time::Duration;

use super::subjects::Subjects;
use crate::{
    error::{Error, Result},
    tenancy::{Param, Statements, TenantTxn},
    types::{Stream, TableName},
};

/// The table's name.
pub(in crate::identity) const TABLE: TableName = TableName::of(Stream::Freehold, "sign_in_attempts");

/// How long attempts count, and how long a lock lasts (design.md §6).
macro_rules! window {
    () => {
        "interval '15 minutes'"
    };
}

/// How long the next attempt has to wait after `$tries`, in seconds.
macro_rules! pause {
    ($tries:literal, $delay_at:literal, $lock_at:literal) => {
        concat!(
            "CASE WHEN ",
            $tries,
            " < ",
            $delay_at,
            " THEN 0 WHEN ",
            $tries,
            " >= ",
            $lock_at,
            " THEN 900 ELSE least(2 ^ least(",
            $tries,
            " - ",
            $delay_at,
            ", 10), 900) END"
        )
    };
}

/// How long a held row `h` of the subject `s` makes the next attempt wait, in seconds; none when it does not.
macro_rules! wait {
    () => {
        concat!(
            "greatest(
                 extract(epoch FROM h.barred_until - clock_timestamp()),
                 CASE WHEN h.ends_at > clock_timestamp()
                     THEN extract(epoch FROM h.last_at - clock_timestamp()) + ",
            pause!("h.tries", "s.delay_at", "s.lock_at"),
            " END)::float8"
        )
    };
}

/// Sees to it that there is a row for each subject: one that is not there cannot be locked.
const PREPARE: &str = concat!(
    "INSERT INTO freehold.sign_in_attempts (subject, kind, ends_at)
     SELECT s.subject, s.kind, now() + ",
    window!(),
    " FROM unnest($1::bytea[], $2::text[]) AS s (subject, kind) ORDER BY s.subject
     ON CONFLICT (subject) DO NOTHING"
);

/// Counts one attempt for every subject, or for none: how many there are, and how long to wait. All are locked before
/// one is judged, so of any number who try at once each sees what the others have counted.
const RESERVE: &str = concat!(
    "WITH asked AS (
         SELECT * FROM unnest($1::bytea[], $2::int[], $3::int[]) AS s (subject, delay_at, lock_at)
     ), held AS MATERIALIZED (
         SELECT a.subject, a.tries, a.last_at, a.ends_at, a.barred_until FROM freehold.sign_in_attempts a
         WHERE a.subject = ANY ($1) ORDER BY a.subject FOR UPDATE
     ), judged AS MATERIALIZED (
         SELECT h.subject, s.lock_at, CASE WHEN h.ends_at > clock_timestamp() THEN h.tries ELSE 0 END AS tries, ",
    wait!(),
    " AS wait FROM held h JOIN asked s ON s.subject = h.subject
     ), verdict AS MATERIALIZED (
         SELECT count(*) AS found, coalesce(max(wait), 0) AS wait FROM judged
     ), counted AS (
         UPDATE freehold.sign_in_attempts a
         SET tries = j.tries + 1, last_at = clock_timestamp(),
             ends_at = CASE WHEN j.tries = 0 OR j.tries + 1 >= j.lock_at THEN clock_timestamp() + ",
    window!(),
    " ELSE a.ends_at END, names = CASE WHEN j.tries = 0 THEN '{}' ELSE a.names END
         FROM judged j, verdict v
         WHERE a.subject = j.subject AND v.wait <= 0 AND v.found = cardinality($1)
     )
     SELECT found, wait FROM verdict"
);

/// Forgets what is the caller's own, or takes this attempt back; takes it back for the others.
const SETTLE: &str = "WITH held AS MATERIALIZED (
         SELECT a.subject FROM freehold.sign_in_attempts a
         WHERE a.subject = ANY ($1) ORDER BY a.subject FOR UPDATE
     ), forgotten AS (
         DELETE FROM freehold.sign_in_attempts a USING held h WHERE a.subject = h.subject AND a.subject = $2
     )
     UPDATE freehold.sign_in_attempts a
     SET tries = greatest(a.tries - 1, 0),
         names = CASE WHEN $2::bytea IS NULL THEN a.names ELSE array_remove(a.names, $3::bytea) END
     FROM held h WHERE a.subject = h.subject AND a.subject IS DISTINCT FROM $2";

/// Notes the account that was tried in vain with the networks that it was tried from: those that this bars.
const FAIL: &str = concat!(
    "WITH asked AS (
         SELECT * FROM unnest($1::bytea[], $2::int[]) AS s (subject, names_at)
     ), held AS MATERIALIZED (
         SELECT a.subject, a.kind, a.names, coalesce(a.barred_until > clock_timestamp(), false) AS is_barred
         FROM freehold.sign_in_attempts a WHERE a.subject = ANY ($1) ORDER BY a.subject FOR UPDATE
     ), tried AS MATERIALIZED (
         SELECT h.subject, h.kind, h.is_barred, s.names_at,
                CASE WHEN $3 = ANY (h.names) THEN h.names ELSE h.names || $3::bytea END AS names
         FROM held h JOIN asked s ON s.subject = h.subject WHERE h.kind IN ('address', 'network')
     )
     UPDATE freehold.sign_in_attempts a
     SET names = CASE WHEN t.is_barred THEN a.names ELSE t.names END,
         barred_until = CASE WHEN cardinality(t.names) >= t.names_at AND NOT t.is_barred
             THEN clock_timestamp() + ",
    window!(),
    " ELSE a.barred_until END,
         ends_at = CASE WHEN cardinality(t.names) >= t.names_at AND NOT t.is_barred
             THEN clock_timestamp() + ",
    window!(),
    " ELSE a.ends_at END
     FROM tried t WHERE a.subject = t.subject
     RETURNING t.kind, cardinality(t.names) AS names, cardinality(t.names) >= t.names_at AND NOT t.is_barred AS barred"
);

/// Some that have ended. Whoever holds one of them keeps it.
const SWEEP: &str = "DELETE FROM freehold.sign_in_attempts WHERE subject IN (
        SELECT a.subject FROM freehold.sign_in_attempts a WHERE a.ends_at <= now() ORDER BY a.ends_at LIMIT $1
        FOR UPDATE SKIP LOCKED)";

const STATUS: &str = concat!(
    "SELECT h.tries, ",
    wait!(),
    " AS wait FROM freehold.sign_in_attempts h, (SELECT $2::int AS delay_at, $3::int AS lock_at) s
     WHERE h.subject = $1 AND h.ends_at > clock_timestamp()"
);

const FORGET: &str = "WITH held AS MATERIALIZED (
         SELECT a.subject FROM freehold.sign_in_attempts a
         WHERE a.subject = ANY ($1) ORDER BY a.subject FOR UPDATE
     ), forgotten AS (
         DELETE FROM freehold.sign_in_attempts a USING held h WHERE a.subject = h.subject RETURNING a.tries
     )
     SELECT coalesce(sum(tries), 0) AS tries FROM forgotten";

/// What came of trying to count an attempt.
pub(super) enum Reserved {
    Counted,
    Wait(Duration),
    /// A row was forgotten meanwhile.
    Again,
}

/// Counts an attempt for all subjects, or says how long to wait.
pub(super) async fn reserve(statements: &impl Statements, subjects: &Subjects) -> Result<Reserved> {
    statements.run(PREPARE, &[&subjects.digests, &subjects.kinds]).await?;
    let params: [Param<'_>; 3] = [&subjects.digests, &subjects.delay_at, &subjects.lock_at];
    let row = statements.row(RESERVE, &params).await?;
    let row = row.ok_or_else(|| Error::defect("a count has answered with no row"))?;
    let (found, wait): (i64, f64) = (row.try_get("found")?, row.try_get("wait")?);
    if usize::try_from(found).is_ok_and(|found| found < subjects.digests.len()) {
        return Ok(Reserved::Again);
    }
    Ok(if wait > 0.0 { Reserved::Wait(Duration::from_secs_f64(wait)) } else { Reserved::Counted })
}

/// Ends an attempt that did not fail. `own` is forgotten.
pub(super) async fn settle(statements: &impl Statements, subjects: &Subjects, own: Option<&[u8]>) -> Result<()> {
    statements.run(SETTLE, &[&subjects.digests, &own, &subjects.name]).await?;
    Ok(())
}

/// A network that is refused from now on, and how many accounts were tried from it.
pub(super) struct Barred {
    pub(super) kind: String,
    pub(super) names: i32,
}

/// Notes that an attempt has failed.
pub(super) async fn fail(statements: &impl Statements, subjects: &Subjects) -> Result<Vec<Barred>> {
    let rows = statements.rows(FAIL, &[&subjects.digests, &subjects.names_at, &subjects.name]).await?;
    let mut barred = Vec::new();
    for row in rows {
        if row.try_get("barred")? {
            barred.push(Barred { kind: row.try_get("kind")?, names: row.try_get("names")? });
        }
    }
    Ok(barred)
}

/// Deletes some rows that count for nothing any more: as many as an attempt leaves behind, and some.
pub(super) async fn sweep(statements: &impl Statements) -> Result<()> {
    purge(statements, 20).await.map(drop)
}

/// Deletes rows that count for nothing any more; how many.
pub(in crate::identity) async fn purge(statements: &impl Statements, limit: i64) -> Result<u64> {
    Ok(statements.run(SWEEP, &[&limit]).await?)
}

/// How many attempts count on a subject, and how long the next one has to wait, if it does.
pub(super) async fn status(
    statements: &impl Statements,
    subject: &[u8],
    (delay_at, lock_at): (i32, i32),
) -> Result<(i32, Option<Duration>)> {
    let Some(row) = statements.row(STATUS, &[&subject, &delay_at, &lock_at]).await? else { return Ok((0, None)) };
    let wait: Option<f64> = row.try_get("wait")?;
    let wait = wait.filter(|wait| *wait > 0.0).map(Duration::from_secs_f64);
    Ok((row.try_get("tries")?, wait))
}

/// Forgets all attempts on these subjects; how many there were.
pub(super) async fn forget(txn: &TenantTxn<'_>, subjects: &[Vec<u8>]) -> Result<i64> {
    let row = txn.row(FORGET, &[&subjects]).await?;
    Ok(row.map(|row| row.try_get("tries")).transpose()?.unwrap_or_default())
}
