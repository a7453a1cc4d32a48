//! Resets a session with a tenant's database between two uses, so that state from one use never reaches the next.
//!
//! A statement may set a parameter, take a lock, listen, prepare a statement or create a temporary table, itself or
//! through a trigger or a function. Unless it is proven that the statement does not ([`super::proof`]), its session is
//! reset after use. A background task does that, and then returns the session to the pool. A session that cannot be
//! reset is closed. A session that only ran proven statements, all of them answered, returns to the pool without a
//! reset.
//!
//! A reset cannot undo two things, because PostgreSQL has no command for them: the seed of `random()`, and the internal
//! state of procedural languages other than SQL and PL/pgSQL.

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
    prepared::{Prepared, Texts},
    proof::{LOOK_INTERVAL, Look, Proofs},
};

/// How long a reset may take, and a check of the catalog: as long as opening a new session (promises.md §2).
const BOUND: Duration = Duration::from_secs(2);

const RESET: &str = include_str!("reset.sql");

/// A session, as a pool keeps it.
pub(super) struct Session {
    pub(super) client: ClientWrapper,
    pub(super) prepared: Prepared,
    pub(super) traces: Traces,
}

/// Records whether a session may have state left on it.
pub(super) struct Traces {
    proofs: Arc<Proofs>,
    /// The generation of proofs that the session's last reset belongs to.
    generation: u64,
    left: AtomicBool,
    /// How many statements were sent and not answered, or answered with an error. The next user of the session must not
    /// wait for a statement that the last one has given up.
    unanswered: AtomicU32,
    /// Whether the session must be closed after use, because statements that are right fail on it.
    worn_out: AtomicBool,
}

impl Session {
    /// A new session, on which nothing has run yet.
    pub(super) fn new(client: ClientWrapper, texts: Arc<Texts>, proofs: Arc<Proofs>) -> Self {
        let traces = Traces {
            generation: proofs.generation(),
            proofs,
            left: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            worn_out: AtomicBool::new(false),
        };
        Self { client, prepared: Prepared::new(texts), traces }
    }

    /// Resets the state of the session.
    ///
    /// # Errors
    /// The session has state that only ends with it, or the reset failed. The caller must close the session.
    pub(super) async fn reset(&mut self) -> Result<(), ResetError> {
        let generation = self.traces.proofs.generation();
        if self.traces.generation != generation {
            // The schema may have changed.
            self.prepared.forget(&self.client);
        }
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

    /// Called when the server has ended this session: it may have ended all. Makes the pool check its other sessions
    /// before their next use, so that a restart makes one request fail, and not one for each session.
    fn tell_if_ended(&self) {
        if self.client.is_closed() {
            self.traces.proofs.doubt();
        }
    }

    /// Whether the session's last reset belongs to the present generation of proofs.
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
    /// The error of PostgreSQL or of the connection.
    #[error(transparent)]
    Database(#[from] tokio_postgres::Error),
}

impl Traces {
    /// Records that a statement is about to run. Must be called before it is sent, because the future that waits for
    /// the answer may be dropped.
    pub(super) fn expect(&self, statement: &'static str) {
        self.unanswered.fetch_add(1, Relaxed);
        if !self.left.load(Relaxed) && !self.proofs.holds_for(statement.into()) {
            self.left.store(true, Relaxed);
        }
    }

    /// Records that a statement was answered without an error.
    pub(super) fn answered(&self) {
        self.unanswered.fetch_sub(1, Relaxed);
    }

    /// Called when a statement was refused because the schema has changed. Ends all proofs, and makes the tenant's other
    /// sessions forget what they have prepared before their next use.
    pub(super) fn schema_has_changed(&self) {
        self.proofs.doubt();
    }

    /// Called when a statement fails on this session although it was prepared anew.
    pub(super) fn wear_out(&self) {
        self.worn_out.store(true, Relaxed);
    }

    /// Whether state may have been left, a statement may still be running, or a proof that was used has turned out to
    /// be wrong.
    pub(super) fn are_possible(&self) -> bool {
        self.left.load(Relaxed) || self.unanswered.load(Relaxed) > 0 || self.generation != self.proofs.generation()
    }
}

/// A session that is in use. When it is dropped, it returns to its pool: at once if no state can have been left on it,
/// otherwise once it is reset.
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
        if object.traces.worn_out.load(Relaxed) {
            return drop(Object::take(object));
        }
        object.tell_if_ended();
        // Without a Tokio runtime it returns as it is, and the pool resets it before its next use.
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

/// Keeps the proofs of a busy pool valid, until they are no longer used.
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
            // Sessions that are in use are reset when they are returned.
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
