//! Proves for one tenant's database which statements leave no state on their session.
//!
//! A statement counts as unproven until the database's own catalog shows that it can leave no state. The catalog is
//! checked for every object that a name in the text may stand for: all functions that the statement can call that way
//! must change nothing (`provable.sql`). Statements that write are never proven, because triggers, rules and defaults
//! may call anything.
//!
//! A migration may change the catalog after a proof. So a proof is valid for [`HOLDS`] only. While a pool is busy, a
//! background task checks the catalog again before the proofs expire, and once more after the last use. If a statement
//! is then no longer proven, it was used without a proof for [`HOLDS`] at most. All sessions that may have run it are
//! closed or reset before their next use. Pools that are not busy have no proofs: they reset a session after every use,
//! which is cheaper than checking the catalog.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::ClientWrapper;

use super::statement::Statement;

/// How long proofs are valid, from the beginning of the check of the catalog.
const HOLDS: Duration = Duration::from_secs(1);
/// How often the catalog is checked while the pool is busy.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(400);
/// A check of the catalog costs about as much as this number of resets. With fewer uses, resets are cheaper.
const PAYS: u32 = 24;

const TAINTED: &str = include_str!("provable.sql");
/// In the result: no statement is proven.
const ALL: &str = "*";

/// What is known about the statements that ran in one tenant's database.
#[derive(Default)]
pub(super) struct Proofs {
    known: RwLock<Known>,
    /// How often a proof was used since the last check.
    uses: AtomicU32,
    /// How often a session was reset since a proof was last valid.
    resets: AtomicU32,
    /// Incremented when a proof that was used may have been wrong.
    generation: AtomicU64,
}

#[derive(Default)]
struct Known {
    statements: HashMap<Statement, Standing>,
    /// Until when the proofs are valid.
    until: Option<Instant>,
}

/// What is known about one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its text shows that it may leave state, or the text cannot be parsed here.
    Unprovable,
    /// The catalog has not been checked, or shows that it may leave state.
    Unproven,
    /// It leaves no state, as long as proofs are valid.
    Proven,
}

/// Whether to check the catalog again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Yes: the pool is busy enough for proofs to pay.
    Renew,
    /// Yes, for the last time: no proofs are used any more, but some were used since the last check.
    Last,
    /// No: no proof was used since the last check, and none will be.
    None,
}

impl Proofs {
    /// The generation of proofs. A session of an older generation may have state left on it.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Whether it is proven now that the statement leaves no state.
    pub(super) fn holds_for(&self, statement: Statement) -> bool {
        let standing = {
            // Counted under the lock, so that a check that ends all proofs sees every earlier use.
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let standing = known.statements.get(&statement).copied();
            if standing == Some(Standing::Proven) && known.until.is_some_and(|until| Instant::now() < until) {
                self.uses.fetch_add(1, Relaxed);
                return true;
            }
            standing
        };
        if standing.is_none() {
            let standing = if statement.names().is_some() { Standing::Unproven } else { Standing::Unprovable };
            self.write(|known| known.statements.insert(statement, standing));
        }
        false
    }

    /// Counts a reset of a session. Returns whether there were so many that proofs would pay.
    pub(super) fn would_pay(&self) -> bool {
        self.resets.fetch_add(1, Relaxed) + 1 == PAYS
    }

    /// What to do when the next check is due.
    pub(super) fn due(&self) -> Look {
        self.write(|known| match self.uses.swap(0, Relaxed) {
            PAYS.. => Look::Renew,
            uses => {
                known.until = None;
                self.resets.store(0, Relaxed);
                if uses == 0 { Look::None } else { Look::Last }
            }
        })
    }

    /// Checks the catalog for what can be proven. If the query fails, nothing is proven.
    ///
    /// # Errors
    /// Those of the session.
    pub(super) async fn look(&self, client: &ClientWrapper, look: Look) -> Result<(), tokio_postgres::Error> {
        let begun = Instant::now();
        let texts: Vec<_> = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            let provable = known.statements.iter().filter(|(_, standing)| **standing != Standing::Unprovable);
            provable.filter_map(|(statement, _)| Some((*statement, statement.names()?))).collect()
        };
        let names: HashSet<&str> = texts.iter().flat_map(|(_, names)| names).map(String::as_str).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let statement = client.prepare_cached(TAINTED).await?;
        let rows = client.query(&statement, &[&names]).await?;
        let tainted = rows.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<String>, _>>()?;
        let is_proven = |names: &[String]| !tainted.contains(ALL) && !names.iter().any(|name| tainted.contains(name));
        self.write(|known| {
            for (statement, names) in &texts {
                let standing = if is_proven(names) { Standing::Proven } else { Standing::Unproven };
                let before = known.statements.insert(*statement, standing);
                if before == Some(Standing::Proven) && standing == Standing::Unproven {
                    self.generation.fetch_add(1, Relaxed);
                }
            }
            known.until = (look == Look::Renew).then(|| begun + HOLDS);
        });
        Ok(())
    }

    /// Called when the catalog could not be checked: ends all proofs, and treats those that were used as wrong.
    pub(super) fn doubt(&self) {
        self.write(|known| {
            known.until = None;
            self.resets.store(0, Relaxed);
            self.generation.fetch_add(1, Relaxed);
        });
    }

    fn write<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }
}
