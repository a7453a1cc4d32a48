//! A session with a tenant's database between two users: what one left on it never reaches the next.
//!
//! A statement may set something, lock, listen, prepare or make a temporary table, itself or through a trigger or a
//! function. Unless it is proven that it does not ([`super::proof`]), its session is reset after use, off every
//! request's path, and goes back to the pool when that is done; one that cannot be reset is closed. A session that
//! only ran what is proven, and was answered, goes back as it is. Beyond a reset are two things that PostgreSQL has no command for: the
//! seed of `random()`, and what a procedural language other than SQL and PL/pgSQL keeps for itself.

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use deadpool::managed::{Object, Pool};
use deadpool_postgres::ClientWrapper;
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::SimpleQueryMessage;

use super::{
    login::Login,
    proof::{LOOK_INTERVAL, Look, Proofs},
};

/// How long a reset may take, and how long a look at the catalogue: as long as a new session (promises.md §2).
const BOUND: Duration = Duration::from_secs(2);

const RESET: &str = include_str!("reset.sql");

/// A session, as a pool keeps it.
pub(super) struct Session {
    pub(super) client: ClientWrapper,
    pub(super) traces: Traces,
}

/// Whether somebody may have left something on a session.
pub(super) struct Traces {
    proofs: Arc<Proofs>,
    /// The generation of proofs that the session's last reset belongs to.
    generation: u64,
    left: AtomicBool,
    /// Statements that were sent and not answered, or with an error. Whoever gets the session next must not wait for
    /// what the last one has given up.
    unanswered: AtomicU32,
}

impl Session {
    /// A new session, on which nobody has done anything.
    pub(super) fn new(client: ClientWrapper, proofs: Arc<Proofs>) -> Self {
        let generation = proofs.generation();
        Self {
            client,
            traces: Traces { proofs, generation, left: AtomicBool::new(false), unanswered: AtomicU32::new(0) },
        }
    }

    /// Takes away what was left.
    ///
    /// # Errors
    /// Something is left that only ends with the session, or PostgreSQL did not do as it was told: close it.
    pub(super) async fn reset(&mut self) -> Result<(), ResetError> {
        let generation = self.traces.proofs.generation();
        let answers = self.client.simple_query(RESET).await?;
        let rows = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        if rows.last().and_then(|row| row.try_get(1).ok().flatten()) != Some("f") {
            return Err(ResetError::Left);
        }
        self.traces.generation = generation;
        self.traces.left.store(false, Relaxed);
        self.traces.unanswered.store(0, Relaxed);
        Ok(())
    }

    /// A server that ends one session may have ended them all. The pool's others are asked before anybody relies on them,
    /// so that a restart costs one answer and not one a session.
    fn tell_if_ended(&self) {
        if self.client.is_closed() {
            self.traces.proofs.doubt();
        }
    }

    /// Whether this is the generation of sessions that nothing is to be feared of.
    pub(super) fn is_of_this_generation(&self) -> bool {
        self.traces.generation == self.traces.proofs.generation()
    }
}

/// Why a session was not reset.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResetError {
    /// A transaction is open, or statements have been prepared under names of their own.
    #[error("something is left on the session that a reset does not end")]
    Left,
    /// What PostgreSQL or the connection said.
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
}

impl Traces {
    /// A statement is about to run. To be told before it is sent: whoever waits for it may go away.
    pub(super) fn expect(&self, statement: &'static str) {
        self.unanswered.fetch_add(1, Relaxed);
        if !self.left.load(Relaxed) && !self.proofs.holds_for(statement.into()) {
            self.left.store(true, Relaxed);
        }
    }

    /// A statement has been answered without an error.
    pub(super) fn answered(&self) {
        self.unanswered.fetch_sub(1, Relaxed);
    }

    /// Whether something may have been left or is still under way, or what was relied on has turned out to be wrong since.
    pub(super) fn are_possible(&self) -> bool {
        self.left.load(Relaxed) || self.unanswered.load(Relaxed) > 0 || self.generation != self.proofs.generation()
    }
}

/// A session in somebody's hands. Dropped, it goes back to its pool: at once when nothing can have been left on it, else
/// once it is reset.
pub(super) struct Lent(Option<Object<Login>>);

impl From<Object<Login>> for Lent {
    fn from(object: Object<Login>) -> Self {
        Self(Some(object))
    }
}

impl Deref for Lent {
    type Target = Session;

    #[expect(clippy::expect_used, reason = "only dropping takes it out")]
    fn deref(&self) -> &Session {
        self.0.as_ref().expect("a session is there until it is given back")
    }
}

impl DerefMut for Lent {
    #[expect(clippy::expect_used, reason = "only dropping takes it out")]
    fn deref_mut(&mut self) -> &mut Session {
        self.0.as_mut().expect("a session is there until it is given back")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(object) = self.0.take_if(|session| session.traces.are_possible()) else { return };
        object.tell_if_ended();
        // Without a runtime it goes back as it is, and the pool resets it before anybody gets it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(release_clean(object));
        }
    }
}

async fn release_clean(mut object: Object<Login>) {
    let reset = timeout(BOUND, object.reset()).await;
    if !matches!(reset, Ok(Ok(()))) {
        if matches!(reset, Ok(Err(ResetError::Left))) {
            metrics::counter!("freehold_sessions_not_reset_total").increment(1);
        }
        object.tell_if_ended();
        // Closed.
        return drop(Object::take(object));
    }
    let proofs = Arc::clone(&object.traces.proofs);
    if !proofs.would_pay() {
        return;
    }
    let looked = timeout(BOUND, proofs.look(&object.client, Look::Renew)).await;
    if let (Ok(Ok(())), Some(pool)) = (looked, Object::pool(&object)) {
        tokio::spawn(watch(pool, proofs));
    } else {
        proofs.doubt();
    }
}

/// Keeps the proofs of a busy pool true, until nothing relies on them any more.
async fn watch(pool: Pool<Login>, proofs: Arc<Proofs>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let look = proofs.due();
        if look == Look::None {
            return;
        }
        let before = proofs.generation();
        let has_looked = look_again(&pool, &proofs, look).await.is_some();
        if !has_looked {
            proofs.doubt();
        }
        if proofs.generation() != before {
            // Those in use are reset when they are given back.
            pool.retain(|session, _| session.is_of_this_generation());
        }
        if !has_looked || look == Look::Last {
            return;
        }
    }
}

async fn look_again(pool: &Pool<Login>, proofs: &Proofs, look: Look) -> Option<()> {
    let object = pool.get().await.ok()?;
    timeout(BOUND, proofs.look(&object.client, look)).await.ok()?.ok()
}
