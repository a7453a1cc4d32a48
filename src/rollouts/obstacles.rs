//! What keeps a rollout from starting, and a wave from beginning: replicas that run and could not serve the tenants any
//! more, and files that are missing for the way back.
//!
//! A plan shows all of it. A start is refused with the first. Before each wave it is looked at again, since replicas come
//! and go meanwhile: then the rollout pauses. See docs/decisions/0034.

use std::collections::HashSet;

use sqlx::PgConnection;

use crate::{
    control::{
        replicas,
        rollout_plan::{self, Candidate},
        rollout_tenants::{self, MemberState, NewMember},
        rollouts::Rollout,
    },
    error::{Error, Result, first_of},
    migrations::{MigrationSet, TenantSchema},
    operations::{Context, schema::publish},
    types::{RolloutId, SchemaVersions, Stream},
};

/// How many names a sentence has at most.
pub(super) const NAMED: usize = 20;

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// A stable code.
    pub code: &'static str,
    /// A sentence that names what is in the way, and what to do.
    pub detail: String,
}

impl From<Obstacle> for Error {
    fn from(Obstacle { code, detail }: Obstacle) -> Self {
        Self::conflict(code, detail)
    }
}

/// Why the next wave of a rollout may not begin, or the rollout not go on.
pub(super) async fn of_a_wave(
    ctx: &Context,
    connection: &mut PgConnection,
    rollout: &Rollout,
) -> Result<Option<Obstacle>> {
    let Some(oldest) = rollout_plan::oldest_left(connection, rollout.id).await? else { return Ok(None) };
    if rollout.undoes.is_some() {
        return of_going_back(connection, oldest).await;
    }
    let newest = publish::newest(&ctx.memory, connection).await?;
    let ways = ways_left(connection, rollout.id).await?;
    Ok(of_taking_away(connection, newest.schema(), &ways).await?.into_iter().next())
}

/// From which versions to which a tenant goes.
type Way = (SchemaVersions, SchemaVersions);

/// The ways of the tenants of a rollout that wait or are at work.
async fn ways_left(connection: &mut PgConnection, rollout: RolloutId) -> Result<HashSet<Way>> {
    const PAGE: i64 = 1_000;
    let mut ways = HashSet::new();
    for state in [MemberState::Pending, MemberState::Running] {
        let mut after = None;
        loop {
            let page = rollout_tenants::page(connection, rollout, Some(state), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.tenant_id);
            ways.extend(page.into_iter().map(|member| (member.from, member.to)));
        }
    }
    Ok(ways)
}

/// What keeps tenants from getting the files that they lack.
///
/// # Errors
/// The control database is unavailable.
pub async fn of_going_forward(
    ctx: &Context,
    connection: &mut PgConnection,
    members: &[(Candidate, NewMember)],
) -> Result<Vec<Obstacle>> {
    let going = members.iter().map(|(_, member)| member).filter(|member| member.skipped.is_none());
    let ways: HashSet<_> = going.map(|member| (member.from, member.to)).collect();
    let newest = publish::newest(&ctx.memory, connection).await?;
    let replicas = of_taking_away(connection, newest.schema(), &ways).await?;
    Ok(replicas.into_iter().chain(of_backfills(&newest.schema().product, members)).collect())
}

/// The replicas of a release that still uses what files on these ways take away: one obstacle for each file.
async fn of_taking_away(
    connection: &mut PgConnection,
    schema: &TenantSchema,
    ways: &HashSet<Way>,
) -> Result<Vec<Obstacle>> {
    let mut obstacles = Vec::new();
    for stream in Stream::ALL {
        for (file, oldest, _) in
            schema.stream(stream).contracts().filter(|(file, ..)| is_on(ways, stream, file.version))
        {
            let mut carried = SchemaVersions::default();
            *carried.of_mut(stream) = oldest;
            let names = replicas::older_than(connection, carried).await?;
            if names.is_empty() {
                continue;
            }
            let detail = format!(
                "{} takes away what releases use that carry less than version {oldest} of the stream {stream}, and these \
                 replicas run one: {}; deploy a newer release first",
                file.file_name(),
                first_of(&names, NAMED)
            );
            obstacles.push(Obstacle { code: "replicas_outdated", detail });
        }
    }
    Ok(obstacles)
}

/// Whether a tenant gets this file on its way.
fn is_on(ways: &HashSet<Way>, stream: Stream, version: i32) -> bool {
    ways.iter().any(|(from, to)| from.of(stream) < version && version <= to.of(stream))
}

/// The tenants in which a backfill is not finished that a file asks for. A batched file is in a tenant's history only
/// when it touches no row any more, so that the version says it. That it comes first in the same rollout is not enough:
/// the release before goes on writing until its last tenant is done.
fn of_backfills(set: &MigrationSet, members: &[(Candidate, NewMember)]) -> Option<Obstacle> {
    let lacking = |file: i32, backfill: i32| {
        let is_part = |member: &NewMember| {
            member.skipped.is_none() && member.from.product < backfill && file <= member.to.product
        };
        let lacking = members.iter().filter(move |(_, member)| is_part(member));
        lacking.map(|(tenant, _)| tenant.slug.to_string()).collect::<Vec<_>>()
    };
    set.contracts().find_map(|(file, _, backfill)| {
        let backfill = backfill?;
        let slugs = lacking(file.version, backfill);
        let detail = format!(
            "{} needs the batched migration {backfill} finished first, and these tenants lack it: {}; roll out to version \
             {backfill}, and then further",
            file.file_name(),
            first_of(&slugs, NAMED)
        );
        (!slugs.is_empty()).then_some(Obstacle { code: "backfill_unfinished", detail })
    })
}

/// Why no tenant may be taken back to `version` of the product's stream: replicas that could not serve it there.
pub(super) async fn of_going_back(connection: &mut PgConnection, version: i32) -> Result<Option<Obstacle>> {
    let names = replicas::needing_more_than(connection, version).await?;
    if names.is_empty() {
        return Ok(None);
    }
    let detail = format!(
        "replicas run that cannot serve version {version} of the product's stream: {}; replace them with an older release \
         first",
        first_of(&names, NAMED)
    );
    Ok(Some(Obstacle { code: "replicas_need_newer", detail }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_if_one_tenant_gets_it() {
        let versions = |freehold, product| SchemaVersions { freehold, product };
        // One that is far behind goes to a pin, and another one from there to the newest.
        let ways = HashSet::from([(versions(1, 2), versions(2, 3)), (versions(2, 6), versions(2, 7))]);
        let gets: Vec<_> = (1..9).filter(|version| is_on(&ways, Stream::Product, *version)).collect();
        assert_eq!(gets, [3, 7]);
        assert!(is_on(&ways, Stream::Freehold, 2) && !is_on(&ways, Stream::Freehold, 1));
    }
}
