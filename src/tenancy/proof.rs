//! Which statements are proven to leave nothing on the session that runs them, in one tenant's database.
//!
//! A statement may leave something until the database's own catalogue has shown that it cannot: that all it can call
//! are functions that change nothing, through whatever the names in its text stand for (`provable.sql`). Statements
//! that write are never proven: triggers, rules and defaults may call anything.
//!
//! A proof is of a moment, and a migration may come in the next. So it holds for [`HOLDS`] only. While a pool is busy,
//! the catalogue is looked at again in time, off every request's path; after the last use, once more. What then turns
//! out to be no longer proven has been used for [`HOLDS`] at the longest, and all sessions that may have run it are
//! closed or reset before anybody gets them. Pools that are not busy have no proofs: their sessions are reset after
//! every use, which costs less than looking.

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

/// How long after the beginning of a look its proofs hold.
const HOLDS: Duration = Duration::from_secs(1);
/// Between two looks while the pool is busy.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(400);
/// A look costs about as much as so many resets: below this number of uses it does not pay.
const PAYS: u32 = 24;

const TAINTED: &str = include_str!("provable.sql");
/// Taints every statement.
const ALL: &str = "*";

/// What is known of the statements that ran in one tenant's database.
#[derive(Default)]
pub(super) struct Proofs {
    known: RwLock<Known>,
    /// How often a proof was relied on since the last look.
    uses: AtomicU32,
    /// How often a session was reset since a proof last held.
    resets: AtomicU32,
    /// Rises when a proof that was relied on may have been wrong.
    generation: AtomicU64,
}

#[derive(Default)]
struct Known {
    statements: HashMap<Statement, Standing>,
    /// Until when the proofs hold.
    until: Option<Instant>,
}

/// What is known of one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its text says that it may leave something, or nothing that is understood.
    Unprovable,
    /// The catalogue has not been asked, or says that it may leave something.
    Unproven,
    /// It leaves nothing, while proofs hold.
    Proven,
}

/// Whether the catalogue is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Proofs are still worth their price.
    Renew,
    /// For the last time: proofs hold no longer, but were relied on.
    Last,
    /// Nothing was relied on since the last look, and nothing will be.
    None,
}

impl Proofs {
    /// Which generation of proofs holds: a session that is older may hold what it must not.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Whether it is proven at this moment that the statement leaves nothing.
    pub(super) fn holds_for(&self, statement: Statement) -> bool {
        let standing = {
            // Counted under the lock: a look that ends all proofs counts every use before it.
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

    /// A session was reset. Whether that has happened so often that proofs would pay.
    pub(super) fn would_pay(&self) -> bool {
        self.resets.fetch_add(1, Relaxed) + 1 == PAYS
    }

    /// What is to be done when it is time for another look.
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

    /// Asks the catalogue what can be proven. Without an answer nothing is.
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

    /// Nobody could look: nothing is proven any more, and what was relied on is in doubt.
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
