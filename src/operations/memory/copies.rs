//! Limits copies of templates to one at a time on each server. Parallel copies are not faster in PostgreSQL, and each
//! one slows down the tenants of the server.
//!
//! Within a replica copies queue up in order. Those that somebody waits for go before those that are made ahead. The
//! first copy of each replica then waits for a lock on the server. The session that copies holds that lock, and so for
//! as long as PostgreSQL is at it; the server gives it to the next one without asking this program. A replica that is
//! stopped just when it gets the lock keeps it until its lease has run out and its session is ended.
//!
//! A copy is tried again, without the lock, where an interrupted DROP had left something of that name.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify, OwnedMutexGuard},
    time::Instant,
};

use crate::{
    error::{Error, Result},
    servers::{LockKey, ServerAdmin},
    types::ServerId,
};

/// How long a copy waits for its turn, here and on the server together, before its attempt ends and another one is made
/// later. Less than a lease: whoever waits keeps a worker from operations on other servers.
const WAIT: Duration = Duration::from_secs(5);
/// How long one that nobody waits for does: while it waits it keeps an operation that somebody waits for from running.
const AHEAD_WAIT: Duration = Duration::from_secs(2);

/// Whether a client waits for a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operations) enum Urgency {
    /// A client waits.
    Awaited,
    /// No client waits: the copy is made ahead of demand.
    Ahead,
}

/// The queues of this replica, one a server.
#[derive(Default)]
pub(in crate::operations) struct Copies(std::sync::Mutex<HashMap<ServerId, Arc<Queue>>>);

#[derive(Default)]
struct Queue {
    turn: Arc<Mutex<()>>,
    awaited: AtomicUsize,
    /// Nobody's client waits any more.
    calm: Notify,
}

impl Copies {
    /// Does `copy`, which begins with the statement that copies, when it is its turn on the server of `admin`.
    ///
    /// # Errors
    /// `server_busy` when the turn does not come in time; else what `copy` says.
    pub(in crate::operations) async fn in_turn<T>(
        &self,
        server: ServerId,
        urgency: Urgency,
        admin: &ServerAdmin,
        copy: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let queue = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(server).or_default());
        let wait = if urgency == Urgency::Ahead { AHEAD_WAIT } else { WAIT };
        let deadline = Instant::now() + wait;
        let turn = tokio::time::timeout_at(deadline, queue.wait(urgency)).await.map_err(|_| busy())?;
        if !admin.line_up(&LockKey::Copies, deadline.saturating_duration_since(Instant::now())).await? {
            return Err(busy());
        }
        // The next one gets in line while this one copies.
        drop(turn);
        // Sent right behind the statement that copies: the server need not wait for this program to give the lock back.
        // A session that cannot be told so any more is gone, and its locks with it.
        let (copied, unlocked) = futures::join!(copy, admin.unlock(&LockKey::Copies));
        let copied = copied?;
        unlocked?;
        Ok(copied)
    }
}

impl Queue {
    async fn wait(&self, urgency: Urgency) -> OwnedMutexGuard<()> {
        if urgency == Urgency::Awaited {
            let _awaited = Awaited::join(self);
            return Arc::clone(&self.turn).lock_owned().await;
        }
        loop {
            let mut calm = pin!(self.calm.notified());
            calm.as_mut().enable();
            if self.awaited.load(Ordering::SeqCst) > 0 {
                calm.await;
                continue;
            }
            let turn = Arc::clone(&self.turn).lock_owned().await;
            // Those who have come meanwhile are behind this one in the queue: they go first all the same.
            if self.awaited.load(Ordering::SeqCst) == 0 {
                return turn;
            }
        }
    }
}

/// Somebody who waits for a client's copy; leaves also when the wait is given up.
struct Awaited<'a>(&'a Queue);

impl<'a> Awaited<'a> {
    fn join(queue: &'a Queue) -> Self {
        queue.awaited.fetch_add(1, Ordering::SeqCst);
        Self(queue)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if self.0.awaited.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.calm.notify_waiters();
        }
    }
}

fn busy() -> Error {
    Error::unavailable("server_busy", "the server is busy making other databases", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_client_waits_for_goes_first() {
        let queue = Arc::new(Queue::default());
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let first = queue.wait(Urgency::Ahead).await;
        let mut tasks = tokio::task::JoinSet::new();
        for (name, urgency) in [("ahead", Urgency::Ahead), ("one", Urgency::Awaited), ("two", Urgency::Awaited)] {
            let (queue, order) = (Arc::clone(&queue), Arc::clone(&order));
            tasks.spawn(async move {
                let _turn = queue.wait(urgency).await;
                order.lock().unwrap().push(name);
            });
            tokio::task::yield_now().await;
        }
        drop(first);
        tasks.join_all().await;
        assert_eq!(*order.lock().unwrap(), ["one", "two", "ahead"]);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_holds_nobody_back() {
        let queue = Queue::default();
        let turn = queue.wait(Urgency::Ahead).await;
        let given_up = tokio::time::timeout(Duration::from_millis(10), queue.wait(Urgency::Awaited)).await;
        assert!(given_up.is_err());
        drop(turn);
        let next = tokio::time::timeout(Duration::from_secs(1), queue.wait(Urgency::Ahead)).await;
        assert!(next.is_ok());
    }
}
