//! Who is behind, and which wave each tenant belongs to. Asks one query, and no tenant.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    obstacles,
    request::{Members, Request},
};
use crate::{
    control::{
        migration_files,
        rollout_plan::{self, Candidate},
        rollout_tenants::NewMember,
    },
    error::{Error, FieldError, Result},
    operations::Context,
    types::{RolloutId, SchemaVersions, ServerId, TenantId},
};

/// The wave of the canaries.
pub(super) const CANARIES: i32 = 0;

/// A rollout as it would be started now.
#[derive(Debug)]
pub struct Plan {
    /// Where it takes the tenants. An undo takes no tenant further back than this.
    pub target: SchemaVersions,
    /// The rollout that it undoes.
    pub undoes: Option<RolloutId>,
    /// Which wave is made of what, in order.
    pub waves: Vec<(i32, Value)>,
    /// The tenants, those that are left out among them.
    pub members: Vec<(Candidate, NewMember)>,
    measured: Option<Duration>,
    places: HashMap<ServerId, i32>,
}

impl Plan {
    /// Plans a rollout.
    ///
    /// # Errors
    /// `validation_failed` on `canary`, `target_version` or `waves`.
    pub async fn make(ctx: &Context, request: &Request) -> Result<Self> {
        let mut connection = ctx.db.acquire().await?;
        Self::without_times(&mut connection, request).await?.timed(&mut connection, request).await
    }

    /// With what estimates need.
    pub(super) async fn timed(self, connection: &mut PgConnection, request: &Request) -> Result<Self> {
        let (measured, places) = rollout_plan::measured(connection).await?;
        let allowed = |places: i32| request.concurrency.map_or(places, |most| most.min(places));
        let places = places.into_iter().map(|(server, places)| (server, allowed(places))).collect();
        Ok(Self { measured, places, ..self })
    }

    /// The same without what estimates need.
    pub(super) async fn without_times(connection: &mut PgConnection, request: &Request) -> Result<Self> {
        request.check()?;
        let target = target(migration_files::newest_versions(connection).await?, request.target)?;
        let behind = rollout_plan::behind(connection, target, None).await?;
        let members = behind.into_iter().map(|tenant| (member(&tenant, target), tenant)).collect();
        Self::arrange(connection, (target, None), members, request).await
    }

    /// Gives each of the tenants its wave.
    pub(super) async fn arrange(
        connection: &mut PgConnection,
        (target, undoes): (SchemaVersions, Option<RolloutId>),
        members: Vec<(NewMember, Candidate)>,
        request: &Request,
    ) -> Result<Self> {
        let canaries = canaries(connection, &request.canaries).await?;
        let members = assign(members, target, &canaries, &request.waves);
        let mut waves: Vec<_> = (CANARIES + 1..).zip(request.waves.iter().map(Members::to_json)).collect();
        if !canaries.is_empty() {
            waves.insert(0, (CANARIES, json!("canary")));
        }
        Ok(Self { target, undoes, waves, members, measured: None, places: HashMap::new() })
    }

    /// Whether no tenant is to be migrated.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.members.iter().all(|(_, member)| member.skipped.is_some())
    }

    /// About how long a wave takes, by what tenants took in earlier rollouts; unknown without any. Servers are worked on
    /// side by side, each with as many tenants at a time as it allows.
    #[must_use]
    pub fn estimate(&self, wave: i32) -> Option<Duration> {
        let each = self.measured?;
        let mut tenants: HashMap<ServerId, u32> = HashMap::new();
        for (_, member) in self.members.iter().filter(|(_, member)| member.wave == wave && member.skipped.is_none()) {
            *tenants.entry(member.server_id).or_default() += 1;
        }
        let rounds = |(server, count): (ServerId, u32)| {
            let places = self.places.get(&server).and_then(|places| u32::try_from(*places).ok()).unwrap_or(1);
            count.div_ceil(places.max(1))
        };
        Some(each * tenants.into_iter().map(rounds).max().unwrap_or_default())
    }
}

/// The newest of Freehold's own stream, and the product's that is asked for.
fn target(newest: SchemaVersions, asked: Option<i32>) -> Result<SchemaVersions> {
    match asked {
        None => Ok(newest),
        Some(product) if (0..=newest.product).contains(&product) => Ok(SchemaVersions { product, ..newest }),
        Some(_) => {
            let message = format!("must be a published version of the product's stream: up to {}", newest.product);
            Err(FieldError::new("target_version", "unknown_version", message).into())
        }
    }
}

async fn canaries(connection: &mut PgConnection, references: &[String]) -> Result<BTreeSet<TenantId>> {
    if references.is_empty() {
        return Ok(BTreeSet::new());
    }
    let known = rollout_plan::named(connection, references).await?;
    let is_unknown = |reference: &String| !known.iter().any(|(known, _)| known == reference);
    let errors: Vec<_> = references
        .iter()
        .enumerate()
        .filter(|(_, reference)| is_unknown(reference))
        .map(|(index, _)| FieldError::new(format!("canary[{index}]"), "unknown_tenant", "there is no such tenant"))
        .collect();
    if errors.is_empty() { Ok(known.into_iter().map(|(_, id)| id).collect()) } else { Err(Error::Validation(errors)) }
}

/// Gives each tenant its wave. The order within a share is by chance, so that a wave is a sample of the fleet, and the
/// same for every plan with this target. The platform tenant comes last, unless it is named.
fn assign(
    mut members: Vec<(NewMember, Candidate)>,
    target: SchemaVersions,
    canaries: &BTreeSet<TenantId>,
    waves: &[Members],
) -> Vec<(Candidate, NewMember)> {
    members.sort_by_cached_key(|(_, tenant)| (tenant.is_platform, lot(tenant.id, target)));
    let mut members: Vec<_> = members.into_iter().map(|(member, tenant)| (None, member, tenant)).collect();
    let mut taken = 0;
    let total = members.iter().filter(|(_, member, _)| member.skipped.is_none()).count();
    let mut take = |wave: i32, most: usize, belongs: &dyn Fn(&Candidate) -> bool, taken: &mut usize| {
        let free = members.iter_mut().filter(|(assigned, _, tenant)| assigned.is_none() && belongs(tenant));
        let mut left = most;
        for (assigned, member, _) in free {
            if member.skipped.is_none() {
                if left == 0 {
                    continue;
                }
                left -= 1;
                *taken += 1;
            }
            *assigned = Some(wave);
        }
    };
    take(CANARIES, usize::MAX, &|tenant| canaries.contains(&tenant.id), &mut taken);
    for (wave, of) in (CANARIES + 1..).zip(waves) {
        match of {
            Members::Share(percent) => {
                let most = share(total, *percent).saturating_sub(taken);
                take(wave, most, &|_| true, &mut taken);
            }
            _ => take(wave, usize::MAX, &|tenant| of.include(tenant), &mut taken),
        }
    }
    let last = i32::try_from(waves.len()).unwrap_or(i32::MAX);
    let placed = |(wave, member, tenant): (Option<i32>, NewMember, Candidate)| {
        (tenant, NewMember { wave: wave.unwrap_or(last), ..member })
    };
    members.into_iter().map(placed).collect()
}

/// The share of so many tenants, rounded up.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of tenants")]
fn share(total: usize, percent: f64) -> usize {
    let number = f64::from(u32::try_from(total).unwrap_or(u32::MAX));
    ((number * percent / 100.0).ceil() as usize).min(total)
}

/// Where a tenant stands in the line for this target.
fn lot(tenant: TenantId, target: SchemaVersions) -> Vec<u8> {
    let text = format!("{tenant} {} {}", target.freehold, target.product);
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(8).copied().collect()
}

/// What is to be done with the tenant. A pinned one gets Freehold's own stream, which its requests need, and no more of
/// the product's than its pin allows.
pub(super) fn member(tenant: &Candidate, target: SchemaVersions) -> NewMember {
    let from = tenant.versions;
    let allowed = tenant.pinned.map_or(target.product, |pinned| pinned.min(target.product));
    let to = SchemaVersions { freehold: target.freehold.max(from.freehold), product: allowed.max(from.product) };
    let is_held = to == from;
    let skipped = tenant
        .pinned
        .filter(|_| is_held)
        .map(|pinned| ("pinned", format!("the tenant is pinned to version {pinned} of the product's stream")));
    NewMember { tenant_id: tenant.id, wave: CANARIES, server_id: tenant.server_id, from, to, skipped }
}

/// The tenants that have fallen behind since the rollout began: clones of tenants of older versions, say. While something
/// is in the way of them they are left for the next rollout, which says so.
pub(super) async fn stragglers(
    ctx: &Context,
    connection: &mut PgConnection,
    (rollout, target): (RolloutId, SchemaVersions),
    wave: i32,
) -> Result<Vec<NewMember>> {
    let candidates = rollout_plan::behind(connection, target, Some(rollout)).await?;
    let members = candidates.into_iter().map(|tenant| {
        let member = NewMember { wave, ..member(&tenant, target) };
        (tenant, member)
    });
    let members: Vec<_> = members.filter(|(_, member)| member.skipped.is_none()).collect();
    if !obstacles::of_going_forward(ctx, connection, &members).await?.is_empty() {
        return Ok(Vec::new());
    }
    Ok(members.into_iter().map(|(_, member)| member).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Clock;

    const OLD: SchemaVersions = SchemaVersions { freehold: 3, product: 1 };
    const NEW: SchemaVersions = SchemaVersions { freehold: 3, product: 4 };

    fn tenant(change: impl FnOnce(&mut Candidate)) -> Candidate {
        let mut tenant = Candidate {
            id: TenantId::generate(&Clock::default(), crate::types::Random),
            slug: "acme".parse().unwrap(),
            is_platform: false,
            plan: "default".into(),
            labels: json!({}),
            server_id: ServerId::from_uuid(uuid::Uuid::nil()),
            region: None,
            versions: OLD,
            pinned: None,
        };
        change(&mut tenant);
        tenant
    }

    fn assigned(
        tenants: Vec<Candidate>,
        canaries: &BTreeSet<TenantId>,
        waves: &[Members],
    ) -> Vec<(Candidate, NewMember)> {
        assign(tenants.into_iter().map(|tenant| (member(&tenant, NEW), tenant)).collect(), NEW, canaries, waves)
    }

    fn sizes(members: &[(Candidate, NewMember)], waves: i32) -> Vec<usize> {
        (0..=waves).map(|wave| members.iter().filter(|(_, member)| member.wave == wave).count()).collect()
    }

    #[test]
    fn shares_are_of_all_tenants_with_those_of_the_waves_before() {
        let tenants: Vec<_> = (0..20).map(|_| tenant(|_| ())).collect();
        let canaries = BTreeSet::from([tenants[0].id, tenants[1].id]);
        let waves = [5.0, 25.0, 100.0].map(Members::Share);
        let members = assigned(tenants.clone(), &canaries, &waves);
        assert_eq!(sizes(&members, 3), [2, 0, 3, 15]);
        assert_eq!(sizes(&assigned(tenants.clone(), &BTreeSet::new(), &waves), 3), [0, 1, 4, 15]);
        let order =
            |members: &[(Candidate, NewMember)]| members.iter().map(|(tenant, _)| tenant.id).collect::<Vec<_>>();
        let mut reversed = tenants;
        reversed.reverse();
        assert_eq!(order(&assigned(reversed, &canaries, &waves)), order(&members), "the same for every plan");
    }

    #[test]
    fn waves_by_plan_region_and_label_take_what_is_left() {
        let tenants = vec![
            tenant(|tenant| tenant.plan = "free".into()),
            tenant(|tenant| {
                tenant.plan = "free".into();
                tenant.region = Some("eu".into());
            }),
            tenant(|tenant| tenant.region = Some("eu".into())),
            tenant(|tenant| tenant.labels = json!({ "tier": "gold" })),
            tenant(|tenant| tenant.is_platform = true),
        ];
        let label = Members::Label("tier".into(), "gold".into());
        let waves = [Members::Plan("free".into()), Members::Region("eu".into()), label, Members::ALL];
        let members = assigned(tenants, &BTreeSet::new(), &waves);
        assert_eq!(sizes(&members, 4), [0, 2, 1, 1, 1]);
        assert!(members.iter().all(|(tenant, member)| !tenant.is_platform || member.wave == 4));
    }

    #[test]
    fn a_pin_holds_back_the_products_stream_and_not_freeholds_own() {
        let newer = SchemaVersions { freehold: 5, product: 4 };
        let pinned = |pinned| tenant(|tenant| tenant.pinned = Some(pinned));
        assert!(member(&pinned(1), NEW).skipped.is_some());
        let both = member(&pinned(1), newer);
        assert_eq!((both.to, both.skipped.is_none()), (SchemaVersions { freehold: 5, product: 1 }, true));
        assert_eq!(member(&pinned(2), NEW).to.product, 2);
        assert_eq!(member(&pinned(9), NEW).to, NEW);
        assert_eq!(member(&pinned(0), newer).to, SchemaVersions { freehold: 5, product: 1 }, "never back");
    }

    #[test]
    fn a_target_has_been_published() {
        assert_eq!(target(NEW, None).unwrap(), NEW);
        assert_eq!(target(NEW, Some(2)).unwrap(), SchemaVersions { product: 2, ..NEW });
        assert!(target(NEW, Some(5)).is_err() && target(NEW, Some(-1)).is_err());
    }
}
