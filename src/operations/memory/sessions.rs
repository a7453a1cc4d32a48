//! Keeps administrative sessions for later operations, because opening one takes longer than most steps.
//!
//! Only the session of an operation that has ended is kept, without its locks and under no operation's name. Any other
//! session ends with its attempt, and its locks end with it. A kept session has to answer before it is used: the server
//! may be away by now.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{servers::ServerAdmin, types::ServerId};

/// How many are kept on a server, of the few that administration may hold there.
const KEPT: usize = 2;
/// How long one is kept without being used.
const IDLE: Duration = Duration::from_secs(5);
/// How long one may take to answer before it counts as broken.
const ANSWER: Duration = Duration::from_millis(500);

/// The sessions that are kept, by server.
#[derive(Default)]
pub(in crate::operations) struct Sessions(Mutex<HashMap<ServerId, Vec<Kept>>>);

struct Kept {
    admin: ServerAdmin,
    since: Instant,
}

impl Sessions {
    /// A session that was kept for the server, if there is one that answers: it has no locks, and is called `name` now.
    pub(in crate::operations) async fn take(&self, server: ServerId, name: &str) -> Option<ServerAdmin> {
        while let Some(mut admin) = self.pop(server) {
            if pass_on(&mut admin, name).await {
                return Some(admin);
            }
        }
        None
    }

    /// Keeps the session for the next operation on the server, under a `name` that is no operation's, unless there are
    /// enough.
    pub(in crate::operations) async fn keep(&self, server: ServerId, mut admin: ServerAdmin, name: &str) {
        if pass_on(&mut admin, name).await {
            let kept = Kept { admin, since: Instant::now() };
            self.with(|sessions| {
                let sessions = sessions.entry(server).or_default();
                if sessions.len() < KEPT {
                    sessions.push(kept);
                }
            });
        }
    }

    /// Ends those that nobody has used for a while.
    pub(in crate::operations) fn end_idle(&self) {
        self.with(|sessions| {
            for sessions in sessions.values_mut() {
                sessions.retain(|kept| kept.since.elapsed() < IDLE);
            }
        });
    }

    /// The one that was used last.
    fn pop(&self, server: ServerId) -> Option<ServerAdmin> {
        self.with(|sessions| Some(sessions.get_mut(&server)?.pop()?.admin))
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<ServerId, Vec<Kept>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn pass_on(admin: &mut ServerAdmin, name: &str) -> bool {
    matches!(tokio::time::timeout(ANSWER, admin.pass_on(name)).await, Ok(Ok(())))
}
