//! The way back: takes the tenants of an earlier rollout back to the versions that each had before, by undo files.
//!
//! It is a rollout of its own, which names the one that it undoes: waves, claims, thresholds, pause and retry are the
//! same, and so is the proof. Only what a place does to a database is another thing ([`super::tenant`]).
//!
//! | tenant | what becomes of it |
//! |---|---|
//! | migrated by the rollout | goes back to the version that it had |
//! | tried, and failed | goes back as far as its database came |
//! | taken further, or there again, by a later rollout | stays; that one has to be undone first |
//! | made or cloned at the newer version | stays: it never had an older one |
//! | archived, or about to be deleted | stays; one that wakes gets the newest version |
//!
//! Freehold's own stream never goes back: the program needs it. See docs/decisions/0034.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::{
    obstacles::{self, Obstacle},
    plan::{CANARIES, Plan},
    request::Request,
    start::{self, Wanted},
};
use crate::{
    control::{
        audit::Origin,
        rollout_plan::{self, Begun, Candidate},
        rollout_tenants::NewMember,
        rollouts::{self, Rollout},
        tenants::TenantState,
    },
    error::{Error, Result, first_of},
    migrations::{MigrationSet, UndoFile, lint},
    operations::{Context, schema::publish},
    types::{Idempotency, RolloutId, SchemaVersions, TenantId},
};

/// An undo as it would be started now.
#[derive(Debug)]
pub struct Undo {
    /// Its tenants and waves.
    pub plan: Plan,
    /// The undo files that it would run, the newest version first.
    pub files: Vec<Undone>,
    /// How many tenants are beyond the versions that the others go back to, are no part of it, and stay where they are.
    pub staying: i64,
    /// Why it would not start.
    pub obstacles: Vec<Obstacle>,
}

/// An undo file.
#[derive(Debug)]
pub struct Undone {
    /// The version that it undoes.
    pub version: i32,
    /// Its name.
    pub name: String,
    /// How many tenants it would be run for, those included that failed and may have its version.
    pub tenants: usize,
    /// What it throws away, as far as its text shows.
    pub loses: Vec<String>,
}

/// Says what an undo would do. Starts nothing, and asks no tenant.
///
/// # Errors
/// `not_found`; `rollout_is_undo`, `nothing_to_undo`, `rollout_in_progress` (409); `validation_failed`.
pub async fn make(ctx: &Context, of: RolloutId, request: &Request) -> Result<Undo> {
    let mut connection = ctx.db.acquire().await?;
    let Undo { plan, files, staying, obstacles } = look(ctx, &mut connection, of, request).await?;
    Ok(Undo { plan: plan.timed(&mut connection, request).await?, files, staying, obstacles })
}

/// Starts an undo. One with nothing left to do has succeeded at once.
///
/// # Errors
/// As [`make`]; `undo_missing`, `replicas_need_newer` (409); `idempotency_key_reused` (422).
pub async fn start(
    ctx: &Context,
    of: RolloutId,
    request: &Request,
    origin: &Origin,
    idempotency: Option<&Idempotency>,
) -> Result<Rollout> {
    start::record(ctx, &Wanted::Undo(of, request), origin, idempotency).await
}

/// Plans an undo that starts now.
pub(super) async fn ready(
    ctx: &Context,
    connection: &mut PgConnection,
    of: RolloutId,
    request: &Request,
) -> Result<Plan> {
    let undo = look(ctx, connection, of, request).await?;
    undo.obstacles.into_iter().next().map_or(Ok(undo.plan), |obstacle| Err(obstacle.into()))
}

async fn look(ctx: &Context, connection: &mut PgConnection, of: RolloutId, request: &Request) -> Result<Undo> {
    request.check()?;
    let rollout = rollouts::get(connection, of).await?.ok_or_else(|| Error::not_found("rollout"))?;
    if rollout.undoes.is_some() {
        let detail = "the rollout is an undo itself: start a rollout, which takes the tenants forward again";
        return Err(Error::conflict("rollout_is_undo", detail));
    }
    if !rollout.state.is_finished() {
        return Err(rollouts::in_progress(Some(of)));
    }
    let begun = rollout_plan::begun(connection, of).await?;
    if begun.iter().all(|one| one.before == one.after) {
        let detail = "the rollout has changed nothing of the product's stream; Freehold's own does not go back";
        return Err(Error::conflict("nothing_to_undo", detail));
    }
    let ids: Vec<_> = begun.iter().map(|one| one.tenant.id).collect();
    let reached: HashMap<_, _> = begun.iter().map(|one| (one.tenant.id, reached(one))).collect();
    let kept = kept_by_later(connection, &rollout).await?;
    let members: Vec<_> = begun.into_iter().filter_map(|one| member(one, &kept)).collect();
    let target = target(&members).unwrap_or(rollout.target);
    let set = publish::newest(&ctx.memory, connection).await?.schema().product.clone();
    let (files, mut obstacles) = files(&set, &members, &reached);
    if members.iter().any(|(member, _)| member.skipped.is_none()) {
        obstacles.extend(obstacles::of_going_back(connection, target.product).await?);
    }
    let staying = rollout_plan::beyond_but(connection, target.product, &ids).await?;
    let plan = Plan::arrange(connection, (target, Some(of)), members, request).await?;
    Ok(Undo { plan, files, staying, obstacles })
}

/// The newest version that the database of a tenant may have. One that was tried and failed may be ahead of what was seen.
fn reached(begun: &Begun) -> i32 {
    let seen = begun.tenant.versions.product;
    if begun.is_done { seen } else { seen.max(begun.after) }
}

/// The tenants that a later rollout has taken on, or to the same version again, and that were not taken back from it.
async fn kept_by_later(connection: &mut PgConnection, rollout: &Rollout) -> Result<HashSet<TenantId>> {
    let mut later = rollouts::since(connection, rollout.created_at).await?;
    later.reverse();
    let mut standing: HashSet<(RolloutId, TenantId)> = HashSet::new();
    for one in later {
        let begun = rollout_plan::begun(connection, one.id).await?;
        for tenant in begun.iter().filter(|begun| begun.is_done && begun.before != begun.after) {
            let id = tenant.tenant.id;
            match one.undoes {
                None => standing.insert((one.id, id)),
                Some(undone) => standing.remove(&(undone, id)),
            };
        }
    }
    Ok(standing.into_iter().map(|(_, tenant)| tenant).collect())
}

/// What is to be done with a tenant of the rollout; none when it is back already.
fn member(begun: Begun, kept: &HashSet<TenantId>) -> Option<(NewMember, Candidate)> {
    let Begun { tenant, state, is_done, before, after } = begun;
    let from = tenant.versions;
    if before == after || is_done && from.product <= before {
        return None;
    }
    let skipped = if !matches!(state, TenantState::Active | TenantState::Suspended) {
        let why =
            format!("the tenant is {state}: its database stays as it is, and one that wakes gets the newest version");
        Some(("tenant_state_conflict", why))
    } else if from.product > after || kept.contains(&tenant.id) {
        let version = from.product;
        Some((
            "newer_version",
            format!("a later rollout has taken the tenant to version {version}: undo that one first"),
        ))
    } else {
        None
    };
    let to = SchemaVersions { product: before, ..from };
    Some((NewMember { tenant_id: tenant.id, wave: CANARIES, server_id: tenant.server_id, from, to, skipped }, tenant))
}

/// The oldest versions that a tenant goes back to; none when nobody does.
fn target(members: &[(NewMember, Candidate)]) -> Option<SchemaVersions> {
    let going = || members.iter().map(|(member, _)| member).filter(|member| member.skipped.is_none());
    let freehold = going().map(|member| member.to.freehold).min()?;
    going().map(|member| member.to.product).min().map(|product| SchemaVersions { freehold, product })
}

/// The undo files that the tenants need, or may need by what each has `reached`, and whether one is missing that is needed
/// for certain. Where a database turns out to need another one, that tenant is refused before anything is undone there.
fn files(
    set: &MigrationSet,
    members: &[(NewMember, Candidate)],
    reached: &HashMap<TenantId, i32>,
) -> (Vec<Undone>, Vec<Obstacle>) {
    let going = || members.iter().map(|(member, _)| member).filter(|member| member.skipped.is_none());
    let may_need = |version: i32| {
        let newest = |member: &NewMember| reached.get(&member.tenant_id).copied().unwrap_or(member.from.product);
        going().filter(|member| (member.to.product + 1..=newest(member)).contains(&version)).count()
    };
    let is_needed =
        |version: i32| going().any(|member| (member.to.product + 1..=member.from.product).contains(&version));
    let lost = lint::undo_losses(set);
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    for file in set.files().iter().rev() {
        let (tenants, name) = (may_need(file.version), UndoFile::file_name(file.version, &file.name));
        if tenants == 0 {
            continue;
        }
        if set.undo_of(file.version).is_none() && is_needed(file.version) {
            missing.push(name.clone());
        }
        let of_it = lost.iter().filter(|finding| finding.file == name);
        let loses = of_it.map(|finding| format!("line {}: {}", finding.line, finding.message)).collect();
        files.push(Undone { version: file.version, name, tenants, loses });
    }
    if missing.is_empty() {
        return (files, Vec::new());
    }
    let detail = format!(
        "there is no way back without these undo files: {}; publish them beside the migrations that they undo",
        first_of(&missing, obstacles::NAMED)
    );
    (files, vec![Obstacle { code: "undo_missing", detail }])
}
