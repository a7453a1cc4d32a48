//! Table `rollout_tenants`: where each tenant of a rollout is, as those who ask for rollouts and look at them see it.
//!
//! What a replica writes that works on one is in [`super::rollout_claims`].

use sqlx::PgConnection;

pub use super::rollout_states::MemberState;
use crate::{
    error::{Error, Result},
    types::{RolloutId, SchemaVersions, ServerId, Slug, TenantId},
};

/// A tenant of a rollout.
#[derive(Clone, Debug)]
pub struct Member {
    /// Which.
    pub tenant_id: TenantId,
    /// Its public name.
    pub slug: Slug,
    /// The wave that it belongs to.
    pub wave: i32,
    /// Where it is.
    pub state: MemberState,
    /// The versions that it had.
    pub from: SchemaVersions,
    /// The versions that it gets.
    pub to: SchemaVersions,
    /// Whether only its history was corrected.
    pub adopted: bool,
    /// How often it was claimed.
    pub attempts: i32,
    /// Why it failed, was skipped, or is tried again: a code and a sentence.
    pub error: Option<(String, String)>,
    /// How long the last attempt took.
    pub duration_ms: Option<i64>,
}

/// A tenant that is about to be part of a rollout.
#[derive(Clone, Debug)]
pub struct NewMember {
    /// Which.
    pub tenant_id: TenantId,
    /// The wave that it belongs to.
    pub wave: i32,
    /// Where its database is.
    pub server_id: ServerId,
    /// The versions that it has.
    pub from: SchemaVersions,
    /// The versions that it gets.
    pub to: SchemaVersions,
    /// Why it is left out at once, if it is: a code and a sentence.
    pub skipped: Option<(&'static str, String)>,
}

/// Adds tenants to a rollout.
pub async fn insert_in_txn(txn: &mut PgConnection, rollout: RolloutId, members: &[NewMember]) -> Result<()> {
    let ids: Vec<_> = members.iter().map(|member| member.tenant_id.uuid()).collect();
    let waves: Vec<_> = members.iter().map(|member| member.wave).collect();
    let servers: Vec<_> = members.iter().map(|member| member.server_id.uuid()).collect();
    let column = |versions: fn(&NewMember) -> i32| members.iter().map(versions).collect::<Vec<_>>();
    let (codes, errors): (Vec<_>, Vec<_>) = members
        .iter()
        .map(|member| member.skipped.clone().map(|(code, error)| (code.to_owned(), error)).unzip())
        .unzip();
    sqlx::query!(
        "INSERT INTO rollout_tenants (rollout_id, tenant_id, wave, server_id, from_freehold, from_product, to_freehold,
                                      to_product, error_code, error, state, finished_at)
         SELECT $1::uuid, m.*, CASE WHEN error_code IS NULL THEN 'pending' ELSE 'skipped' END,
                CASE WHEN error_code IS NULL THEN NULL ELSE now() END
         FROM unnest($2::uuid[], $3::integer[], $4::uuid[], $5::integer[], $6::integer[], $7::integer[], $8::integer[],
                     $9::text[], $10::text[])
              AS m (tenant_id, wave, server_id, from_freehold, from_product, to_freehold, to_product, error_code, error)",
        rollout.uuid(),
        &ids,
        &waves,
        &servers,
        &column(|member| member.from.freehold),
        &column(|member| member.from.product),
        &column(|member| member.to.freehold),
        &column(|member| member.to.product),
        &codes as &[Option<String>],
        &errors as &[Option<String>]
    )
    .execute(txn)
    .await?;
    Ok(())
}

/// How many tenants of a rollout are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting.
    pub pending: i64,
    /// Under way.
    pub running: i64,
    /// Migrated and verified.
    pub done: i64,
    /// Not migrated.
    pub failed: i64,
    /// Left out.
    pub skipped: i64,
}

impl Counts {
    /// All of them.
    #[must_use]
    pub const fn total(self) -> i64 {
        self.pending + self.running + self.done + self.failed + self.skipped
    }

    /// Those that nothing has become of yet.
    #[must_use]
    pub const fn left(self) -> i64 {
        self.pending + self.running
    }

    fn add(&mut self, state: MemberState, count: i64) {
        *match state {
            MemberState::Pending => &mut self.pending,
            MemberState::Running => &mut self.running,
            MemberState::Done => &mut self.done,
            MemberState::Failed => &mut self.failed,
            MemberState::Skipped => &mut self.skipped,
        } += count;
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |all, one| Self {
            pending: all.pending + one.pending,
            running: all.running + one.running,
            done: all.done + one.done,
            failed: all.failed + one.failed,
            skipped: all.skipped + one.skipped,
        })
    }
}

/// How many tenants of a rollout are where, by wave. A wave without tenants is not there.
pub async fn counts(connection: &mut PgConnection, rollout: RolloutId) -> Result<Vec<(i32, Counts)>> {
    let rows = sqlx::query!(
        r#"SELECT wave, state, count(*) AS "count!" FROM rollout_tenants WHERE rollout_id = $1
           GROUP BY wave, state ORDER BY wave"#,
        rollout.uuid()
    )
    .fetch_all(connection)
    .await?;
    let mut waves: Vec<(i32, Counts)> = Vec::new();
    for row in rows {
        let state = MemberState::parse(&row.state)?;
        match waves.last_mut() {
            Some((wave, counts)) if *wave == row.wave => counts.add(state, row.count),
            _ => {
                let mut counts = Counts::default();
                counts.add(state, row.count);
                waves.push((row.wave, counts));
            }
        }
    }
    Ok(waves)
}

/// How many tenants of a rollout were migrated within the last ten seconds, and over how many seconds that is: less
/// when the rollout is younger.
pub async fn pace(connection: &mut PgConnection, rollout: RolloutId) -> Result<(i64, f64)> {
    let row = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM rollout_tenants
                   WHERE rollout_id = $1 AND state = 'done' AND finished_at > now() - interval '10 seconds') AS "done!",
                  extract(epoch FROM least(interval '10 seconds', now() - coalesce(started_at, now())))::float8
                      AS "seconds!"
           FROM rollouts WHERE id = $1"#,
        rollout.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map_or((0, 0.0), |row| (row.done, row.seconds)))
}

/// A page of a rollout's tenants, by id; of one state if given.
pub async fn page(
    connection: &mut PgConnection,
    rollout: RolloutId,
    state: Option<MemberState>,
    after: Option<TenantId>,
    limit: i64,
) -> Result<Vec<Member>> {
    let rows = sqlx::query!(
        "SELECT m.tenant_id, t.slug, m.wave, m.state, m.from_freehold, m.from_product, m.to_freehold, m.to_product,
                m.adopted, m.attempts, m.error_code, m.error, m.duration_ms
         FROM rollout_tenants m JOIN tenants t ON t.id = m.tenant_id
         WHERE m.rollout_id = $1 AND ($2::text IS NULL OR m.state = $2) AND ($3::uuid IS NULL OR m.tenant_id > $3)
         ORDER BY m.tenant_id LIMIT $4",
        rollout.uuid(),
        state.map(MemberState::as_str),
        after.map(TenantId::uuid),
        limit
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Member {
                tenant_id: TenantId::from_uuid(row.tenant_id),
                slug: Slug::from_stored(&row.slug).map_err(Error::internal)?,
                wave: row.wave,
                state: MemberState::parse(&row.state)?,
                from: SchemaVersions { freehold: row.from_freehold, product: row.from_product },
                to: SchemaVersions { freehold: row.to_freehold, product: row.to_product },
                adopted: row.adopted,
                attempts: row.attempts,
                error: row.error_code.zip(row.error),
                duration_ms: row.duration_ms,
            })
        })
        .collect()
}

/// Has failed tenants tried again: those of `only`, or all of them. How many there were.
pub async fn retry_in_txn(txn: &mut PgConnection, rollout: RolloutId, only: Option<&[TenantId]>) -> Result<u64> {
    let only: Option<Vec<_>> = only.map(|ids| ids.iter().map(|id| id.uuid()).collect());
    let done = sqlx::query!(
        "UPDATE rollout_tenants
         SET state = 'pending', attempts = 0, run_after = now(), error_code = NULL, error = NULL, started_at = NULL,
             finished_at = NULL
         WHERE rollout_id = $1 AND state = 'failed' AND ($2::uuid[] IS NULL OR tenant_id = ANY($2))",
        rollout.uuid(),
        only.as_deref() as _
    )
    .execute(txn)
    .await?;
    Ok(done.rows_affected())
}

/// Leaves tenants out that are waiting or failed: those of `only`, or all that wait. The ones that are left out now.
pub async fn skip_in_txn(
    txn: &mut PgConnection,
    rollout: RolloutId,
    only: Option<&[TenantId]>,
    (code, reason): (&str, &str),
) -> Result<Vec<TenantId>> {
    let only: Option<Vec<_>> = only.map(|ids| ids.iter().map(|id| id.uuid()).collect());
    let skipped = sqlx::query_scalar!(
        "UPDATE rollout_tenants
         SET state = 'skipped', error_code = $3, error = $4, finished_at = now()
         WHERE rollout_id = $1
           AND (state = 'pending' AND ($2::uuid[] IS NULL OR tenant_id = ANY($2))
                OR state = 'failed' AND tenant_id = ANY($2))
         RETURNING tenant_id",
        rollout.uuid(),
        only.as_deref() as _,
        code,
        reason
    )
    .fetch_all(txn)
    .await?;
    Ok(skipped.into_iter().map(TenantId::from_uuid).collect())
}
