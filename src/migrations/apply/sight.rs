//! What a rehearsal sees of a database: its tables, where their rows are, and the locks that a session has on them.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use tokio_postgres::Client;

use crate::error::Result;

/// The tables, indexes and materialized views of the database, with where their rows are.
const TABLES: &str = "
    SELECT c.oid AS table, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name,
           pg_catalog.pg_relation_filenode(c.oid) AS file, c.relkind IN ('r', 'm') AS has_rows
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'm', 'i', 'I') AND n.nspname <> 'information_schema'
       AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')";
/// The locks on tables that the session $1 has, with the transaction that it is in.
const LOCKS: &str = "
    SELECT relation AS table, mode, virtualtransaction AS transaction FROM pg_catalog.pg_locks
     WHERE pid = $1 AND locktype = 'relation' AND granted
       AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";

/// The modes of locks, the weakest first (PostgreSQL manual, Explicit Locking).
pub(super) const MODES: [&str; 8] = [
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

/// What is there before a file: by its id the name, where its rows are, and whether it has rows of its own.
pub(super) type Before = BTreeMap<u32, (String, Option<u32>, bool)>;

/// For how long a lock was seen.
pub(super) struct Stretch {
    /// The transaction that had it.
    transaction: String,
    first: Instant,
    last: Instant,
    /// The longest time without a break.
    pub(super) longest: Duration,
}

impl Stretch {
    pub(super) const fn new(now: Instant) -> Self {
        Self { transaction: String::new(), first: now, last: now, longest: Duration::ZERO }
    }

    /// The lock is seen `now`. It was given back meanwhile if it was not there at the look before, or is another
    /// transaction's.
    pub(super) fn see(&mut self, transaction: String, now: Instant, previous: Instant) {
        if self.last < previous || self.transaction != transaction {
            (self.first, self.transaction) = (now, transaction);
        }
        self.last = now;
        self.longest = self.longest.max(now - self.first);
    }
}

pub(super) async fn backend(client: &Client) -> Result<i32> {
    Ok(client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await?.try_get(0)?)
}

pub(super) async fn tables(client: &Client) -> Result<Before> {
    let rows = client.query(TABLES, &[]).await?;
    let table = |row: tokio_postgres::Row| {
        Ok((row.try_get("table")?, (row.try_get("name")?, row.try_get("file")?, row.try_get("has_rows")?)))
    };
    rows.into_iter().map(table).collect()
}

pub(super) async fn locks(client: &Client, pid: i32) -> Result<Vec<(u32, String)>> {
    Ok(holdings(client, pid).await?.into_iter().map(|(table, mode, _)| (table, mode)).collect())
}

/// The locks, each with the transaction that has it.
pub(super) async fn holdings(client: &Client, pid: i32) -> Result<Vec<(u32, String, String)>> {
    let rows = client.query(LOCKS, &[&pid]).await?;
    rows.iter().map(|row| Ok((row.try_get("table")?, row.try_get("mode")?, row.try_get("transaction")?))).collect()
}

/// The strongest lock on each table that is stronger than those which were held.
pub(super) fn more(held: &[(u32, String)], now: &[(u32, String)], before: &Before) -> Vec<(String, String)> {
    let strongest = |locks: &[(u32, String)], table: u32| {
        locks.iter().filter(|(other, _)| *other == table).map(|(_, mode)| strength(mode)).max()
    };
    let mut told = Vec::new();
    for (table, (name, _, has_rows)) in before {
        let Some(mode) = strongest(now, *table).filter(|mode| Some(*mode) > strongest(held, *table)) else { continue };
        // An index is read along with its table.
        if *has_rows || mode > 0 {
            told.push((name.clone(), MODES.get(mode).copied().unwrap_or_default().to_owned()));
        }
    }
    told
}

pub(super) fn strength(mode: &str) -> usize {
    MODES.iter().position(|known| *known == mode).unwrap_or_default()
}

/// The tables that are still there and are stored elsewhere.
pub(super) fn rewritten(before: &Before, now: &Before) -> Vec<String> {
    let is_moved = |table: &u32, file: &Option<u32>| now.get(table).is_some_and(|(_, other, _)| other != file);
    let moved = before.iter().filter(|(table, (_, file, has_rows))| *has_rows && is_moved(table, file));
    moved.map(|(_, (name, ..))| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stronger_locks_on_what_was_there_are_told() {
        let before = Before::from([
            (1, ("public.a".into(), Some(10), true)),
            (2, ("public.a_idx".into(), Some(20), false)),
            (3, ("public.b".into(), Some(30), true)),
        ]);
        let lock = |table, mode: &str| (table, mode.to_owned());
        let held = [lock(1, "RowExclusiveLock")];
        let now = [
            lock(1, "RowExclusiveLock"),
            lock(1, "AccessExclusiveLock"),
            lock(2, "AccessShareLock"),
            lock(3, "AccessShareLock"),
            lock(9, "AccessExclusiveLock"),
        ];
        let told = more(&held, &now, &before);
        let expected = [("public.a", "AccessExclusiveLock"), ("public.b", "AccessShareLock")];
        assert_eq!(told, expected.map(|(table, mode)| (table.to_owned(), mode.to_owned())));
        assert_eq!(more(&now, &now, &before), []);
    }

    #[test]
    fn a_lock_that_is_given_back_in_between_was_held_for_its_longest_stretch() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let longest = |looks: &[(u64, u64, &str)]| {
            let mut stretch = Stretch::new(at(looks[0].0));
            for (now, previous, of) in looks {
                stretch.see((*of).to_owned(), at(*now), at(*previous));
            }
            stretch.longest.as_millis()
        };
        assert_eq!(longest(&[(5, 0, ""), (10, 5, ""), (25, 10, "")]), 20);
        assert_eq!(longest(&[(5, 0, ""), (10, 5, ""), (40, 35, ""), (70, 40, "")]), 30, "it was gone at 35");
        assert_eq!(longest(&[(5, 0, "3/7"), (10, 5, "3/7"), (30, 10, "3/8"), (35, 30, "3/8")]), 5, "another batch");
    }

    #[test]
    fn what_is_stored_elsewhere_was_written_anew() {
        let before = Before::from([(1, ("a".into(), Some(10), true)), (2, ("i".into(), Some(20), false))]);
        let now = Before::from([(1, ("a".into(), Some(11), true)), (2, ("i".into(), Some(21), false))]);
        assert_eq!(rewritten(&before, &now), ["a"]);
        assert_eq!(rewritten(&before, &before), [""; 0]);
    }
}
