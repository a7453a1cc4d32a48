//! The part of a replica that migrates tenants of one server.
//!
//! It holds some of the server's places, each as an advisory lock there: all replicas together never have more than the
//! server's concurrency, whatever they believe of each other. Replicas share the places evenly by how many of them are
//! alive. One administrative session holds the places and the locks of the tenants at work. A login of this rollout and
//! this replica, dropped at the end, does the rest: see `docs/decisions/0013`.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use tokio::{sync::Mutex, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{desk::Desk, tenant};
use crate::{
    control::{replicas, rollouts::Rollout, servers::Server},
    error::Result,
    operations::{Access, Context, schema::migrate::Goal, session_name_of},
    servers::{Credentials, LockKey, ROLLOUT_PREFIX, ServerAdmin},
    types::{RolloutId, SchemaVersions},
};

/// Between two looks at how many places are this replica's, and between two records of what has been done meanwhile.
const TURN: Duration = Duration::from_millis(500);
/// How long a login may take to be dropped.
const LEAVING: Duration = Duration::from_secs(5);

/// What the places of one server share.
pub(super) struct Crew {
    pub(super) ctx: Context,
    pub(super) rollout: Arc<Rollout>,
    pub(super) server: Server,
    pub(super) access: Access,
    /// Holds the places and the tenants' locks.
    pub(super) admin: ServerAdmin,
    /// Migrates.
    pub(super) login: Credentials,
    desk: Desk,
    /// What databases look like at their versions.
    goals: Mutex<HashMap<SchemaVersions, Arc<Goal>>>,
    /// Places from this number on are to be given up.
    allowed: AtomicU16,
}

/// Migrates what is due on the server, until nothing is or `halt`.
pub(super) async fn run(ctx: &Context, rollout: &Arc<Rollout>, server: Server, halt: CancellationToken) {
    let desk = Desk::new(ctx, (rollout.id, server.id), places(rollout, &server), halt);
    let (id, name) = (server.id, server.name.clone());
    match assemble(ctx, rollout, &server).await {
        Ok((access, admin, login)) => {
            let (ctx, rollout) = (ctx.clone(), Arc::clone(rollout));
            let (goals, allowed) = (Mutex::default(), AtomicU16::new(0));
            Arc::new(Crew { ctx, rollout, server, access, admin, login, desk, goals, allowed }).work().await;
        }
        Err(error) => {
            tracing::warn!(server.id = %id, server = name, error = error.chain(), "no tenant of a server can be migrated");
            desk.turn_away(&error).await;
        }
    }
}

/// How many tenants of the server may be migrated at a time, by all replicas together.
fn places(rollout: &Rollout, server: &Server) -> u16 {
    let places = server.rollout_concurrency;
    u16::try_from(rollout.concurrency.map_or(places, |most| most.min(places))).unwrap_or(1)
}

/// The name of the login with which this replica migrates in this rollout.
pub(super) fn login_name(rollout: RolloutId, replica: &str) -> String {
    let digest = digest(&SHA256, replica.as_bytes());
    let number = digest.as_ref().iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
    format!("{}{number:08x}", login_prefix(rollout))
}

/// The rollout that a login is of.
pub(super) fn rollout_of(login: &str) -> Option<RolloutId> {
    let (rollout, _) = login.strip_prefix(ROLLOUT_PREFIX)?.split_once('_')?;
    uuid::Uuid::try_parse(rollout).ok().map(RolloutId::from_uuid)
}

/// What the names of a rollout's logins begin with.
fn login_prefix(rollout: RolloutId) -> String {
    format!("{ROLLOUT_PREFIX}{}_", rollout.uuid().simple())
}

/// Opens the session, and makes the login.
async fn assemble(ctx: &Context, rollout: &Rollout, server: &Server) -> Result<(Access, ServerAdmin, Credentials)> {
    let (access, admin) = ctx.administer(server, &rollout.id.to_string()).await?;
    let places = u16::try_from(server.rollout_concurrency).unwrap_or(1);
    // Each place has one session, and one that is about to end.
    let login = admin.ensure_rollout_login(&login_name(rollout.id, &ctx.replica), 2 * places).await?;
    Ok((access, admin, login))
}

impl Crew {
    fn places(&self) -> u16 {
        places(&self.rollout, &self.server)
    }

    async fn work(self: Arc<Self>) {
        let (mut at_work, mut held) = (JoinSet::new(), Vec::new());
        loop {
            if !self.desk.is_dry().await {
                self.fill(&mut held, &mut at_work).await;
            } else if at_work.is_empty() {
                break;
            }
            // Without a place it waits for one: others may have them all.
            let turn = tokio::time::sleep(TURN);
            tokio::pin!(turn);
            loop {
                tokio::select! {
                    Some(left) = at_work.join_next(), if !at_work.is_empty() => {
                        if let Ok(place) = left {
                            held.retain(|one| *one != place);
                            self.leave(place).await;
                        }
                        if at_work.is_empty() {
                            break;
                        }
                    }
                    () = &mut turn => break,
                }
            }
            self.desk.flush().await;
        }
        self.desk.close().await;
        self.disband().await;
    }

    /// Takes as many places as are this replica's share, and are free.
    async fn fill(self: &Arc<Self>, held: &mut Vec<u16>, at_work: &mut JoinSet<u16>) {
        match self.share().await {
            Ok(share) => self.allowed.store(share, Ordering::SeqCst),
            Err(error) => tracing::debug!(error = error.chain(), "how many replicas share a server is not known"),
        }
        let share = usize::from(self.allowed.load(Ordering::SeqCst));
        let mut is_full = false;
        for place in 0..self.places() {
            if held.len() >= share {
                break;
            }
            if held.contains(&place) {
                continue;
            }
            match self.admin.lock(&LockKey::RolloutSlot(place), Duration::ZERO).await {
                Ok(true) => {
                    held.push(place);
                    let crew = Arc::clone(self);
                    let rank = held.len();
                    at_work.spawn(async move {
                        crew.serve(rank).await;
                        place
                    });
                }
                Ok(false) => is_full = true,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "a place on a server cannot be taken");
                    break;
                }
            }
        }
        if is_full
            && held.len() < share
            && let Err(error) = self.free_places_of_silent().await
        {
            tracing::debug!(error = error.chain(), "silent replicas may keep their places");
        }
    }

    /// Ends the sessions with which silent replicas hold places. One that is stopped, and not dead, would keep them for as
    /// long as it is. One that goes on finds its session ended, and its leases run out. What is free by now is taken with
    /// the next turn.
    async fn free_places_of_silent(&self) -> Result<()> {
        let own = self.admin.application_name();
        for replica in replicas::silent(&mut *self.ctx.db.acquire().await?).await? {
            let session = session_name_of(&replica, &self.rollout.id.to_string());
            // Names are cut: one that is called as this replica is cannot be told from it.
            if session == own {
                continue;
            }
            for place in 0..self.places() {
                if self.admin.end_idle_holder(&LockKey::RolloutSlot(place), &session).await? > 0 {
                    tracing::info!(replica, place, "a replica that is not heard of has lost its place on a server");
                }
            }
        }
        Ok(())
    }

    /// This replica's share of the places: at least one, if it is free.
    async fn share(&self) -> Result<u16> {
        let replicas = replicas::count_migrating(&mut *self.ctx.db.acquire().await?).await?;
        let replicas = u16::try_from(replicas).unwrap_or(u16::MAX).max(1);
        Ok(self.places().div_ceil(replicas))
    }

    /// Migrates one tenant after another in a place, for as long as the place is this replica's.
    async fn serve(&self, rank: usize) {
        while rank <= usize::from(self.allowed.load(Ordering::SeqCst)) {
            let Some(claimed) = self.desk.next().await else { return };
            let outcome = tenant::attempt(self, &claimed).await;
            self.desk.put(outcome).await;
        }
    }

    /// What a database of these versions looks like on this server.
    pub(super) async fn goal(&self, versions: SchemaVersions) -> Result<Arc<Goal>> {
        let mut goals = self.goals.lock().await;
        if let Some(goal) = goals.get(&versions) {
            return Ok(Arc::clone(goal));
        }
        let goal = Goal::find(&self.ctx, (self.server.id, &self.access), &self.admin, versions).await?;
        goals.insert(versions, Arc::clone(&goal));
        Ok(goal)
    }

    async fn leave(&self, place: u16) {
        if let Err(error) = self.admin.unlock(&LockKey::RolloutSlot(place)).await {
            tracing::debug!(error = error.chain(), "a place on a server is given back with its session");
        }
    }

    /// Drops the login. One that stays, because the server is away, goes when the rollout has ended: see
    /// [`super::tidy`].
    async fn disband(&self) {
        let dropped = tokio::time::timeout(LEAVING, self.admin.drop_rollout_login(&self.login.role)).await;
        if !matches!(dropped, Ok(Ok(()))) {
            tracing::warn!(server.id = %self.server.id, "the login of a rollout could not be dropped yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_named_after_rollout_and_replica_within_what_postgresql_keeps() {
        let rollout: RolloutId = "rol_0190b6a4c1e87d3f8a2b5c6d7e8f9012".parse().unwrap();
        let name = login_name(rollout, "replica-1");
        assert!(name.starts_with(&login_prefix(rollout)) && name.len() < 64, "{name}");
        assert_ne!(name, login_name(rollout, "replica-2"));
        assert_eq!((rollout_of(&name), rollout_of("freehold_rollout_x")), (Some(rollout), None));
    }
}
