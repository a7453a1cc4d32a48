//! A replica's caches for operations.
//!
//! Nothing depends on them: a replica that has just started has empty caches and does the same work, a little slower.
//! Code that finds an entry to be wrong removes it.

mod copies;
mod newest;
mod sessions;

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
};

use copies::Copies;
pub(super) use copies::Urgency;
pub use newest::Newest;
use sessions::Sessions;

use crate::types::ServerId;

/// This replica's caches. Clones share them.
#[derive(Clone, Default)]
pub struct Memory(Arc<Held>);

#[derive(Default)]
struct Held {
    newest: RwLock<Option<Arc<Newest>>>,
    templates: RwLock<HashSet<(ServerId, String)>>,
    copies: Copies,
    sessions: Sessions,
    trial: tokio::sync::Mutex<()>,
}

impl Memory {
    /// The turn of one publication on this replica. Whoever waits for it holds no session meanwhile.
    pub(super) async fn trial_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.trial.lock().await
    }

    /// The newest migration sets, as they were read last.
    pub(super) fn newest(&self) -> Option<Arc<Newest>> {
        self.0.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn keep_newest(&self, newest: &Arc<Newest>) {
        *self.0.newest.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(newest));
    }

    /// Whether the server had the finished template when it was looked for last.
    pub(super) fn has_template(&self, server: ServerId, name: &str) -> bool {
        self.0.templates.read().unwrap_or_else(PoisonError::into_inner).contains(&(server, name.to_owned()))
    }

    pub(super) fn keep_template(&self, server: ServerId, name: &str) {
        self.0.templates.write().unwrap_or_else(PoisonError::into_inner).insert((server, name.to_owned()));
    }

    pub(super) fn forget_template(&self, server: ServerId, name: &str) {
        self.0.templates.write().unwrap_or_else(PoisonError::into_inner).remove(&(server, name.to_owned()));
    }

    /// The queues for copies of templates, one for each server.
    pub(super) fn copies(&self) -> &Copies {
        &self.0.copies
    }

    /// The administrative sessions that the next operations can use.
    pub(super) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }
}
