//! Table `tenants`: who they are, where they live, what state they are in.
//!
//! Every change raises `revision` and notifies all replicas (a trigger does both). `epoch` rises only when
//! cached knowledge about sessions and rights must die: see [`raise_epoch`].

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{errors::constraint, operation_claims::Claim, slugs};
use crate::{
    error::{Error, FieldError, Result},
    types::{DisplayName, SchemaVersions, ServerId, Slug, TenantId},
};

/// A tenant, as the control database knows it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its id; also names its database.
    pub id: TenantId,
    /// Its public name.
    pub slug: Slug,
    /// Its name for people.
    pub name: String,
    /// Whether it is the platform tenant, whose users are the operators.
    pub is_platform: bool,
    /// Where it is in its life.
    pub state: TenantState,
    /// The name of its plan.
    pub plan: String,
    /// Where its database is.
    pub server_id: ServerId,
    /// The newest migration of each stream in its database.
    pub versions: SchemaVersions,
    /// The version of the product's stream beyond which rollouts do not take it.
    pub pinned: Option<i32>,
    /// Rises whenever cached knowledge about sessions and rights must die.
    pub epoch: i64,
    /// Rises with every change of the row.
    pub revision: i64,
    /// Slugs besides its own that are kept for it: former ones, and a deleted tenant's last one.
    pub reserved_slugs: Vec<Slug>,
    /// Whether its first administrator is being made: requests wait for that.
    pub is_settling: bool,
    /// Why it is suspended, if it is; whatever its state.
    pub suspension: Option<String>,
    /// What it is again if its deletion is taken back, while it is being deleted.
    pub state_before_deletion: Option<TenantState>,
    /// When it will be erased, if it is being deleted; none while its deletion is being taken back.
    pub erase_after: Option<DateTime<Utc>>,
    /// Free labels, an object of texts.
    pub labels: serde_json::Value,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

impl Tenant {
    /// Whether there is a database of its own: an archived tenant has none, nor has a tombstone.
    #[must_use]
    pub fn has_database(&self) -> bool {
        let state = self.state_before_deletion.unwrap_or(self.state);
        !matches!(state, TenantState::Archived | TenantState::Deleted)
    }
}

/// Where a tenant is in its life (design.md §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenantState {
    /// Its database is being made.
    Provisioning,
    /// It serves.
    Active,
    /// Refused until an operator resumes it.
    Suspended,
    /// Dumped and dropped; can be woken.
    Archived,
    /// Within its grace time.
    Deleting,
    /// A tombstone that keeps the slug reserved.
    Deleted,
}

impl TenantState {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Provisioning, "provisioning"),
        (Self::Active, "active"),
        (Self::Suspended, "suspended"),
        (Self::Archived, "archived"),
        (Self::Deleting, "deleting"),
        (Self::Deleted, "deleted"),
    ];

    /// The state as the interfaces spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, text)| text)
    }
}

impl fmt::Display for TenantState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TenantState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text).map(|(state, _)| *state);
        found.ok_or_else(|| Error::defect(format!("unknown tenant state {text}")))
    }
}

/// A tenant that is about to be.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Its id.
    pub id: TenantId,
    /// Its public name.
    pub slug: Slug,
    /// Its name for people.
    pub name: DisplayName,
    /// Whether it is the platform tenant.
    pub is_platform: bool,
    /// The name of its plan.
    pub plan: String,
    /// Where its database is, or will be.
    pub server_id: ServerId,
    /// The newest migration of each stream in the database that is ready for it; `None` when that has to be made first.
    pub versions: Option<SchemaVersions>,
    /// Whether it serves already but for its first administrator.
    pub is_settling: bool,
}

/// What a page of tenants is chosen by.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the slug or the name, whatever the case.
    pub q: Option<String>,
    /// Only these states' tenants.
    pub state: Option<TenantState>,
    /// Only this plan's tenants.
    pub plan: Option<String>,
    /// Only this server's tenants.
    pub server_id: Option<ServerId>,
}

struct Row {
    id: uuid::Uuid,
    slug: String,
    name: String,
    kind: String,
    state: String,
    plan: String,
    server_id: uuid::Uuid,
    freehold_version: i32,
    schema_version: i32,
    pinned_version: Option<i32>,
    epoch: i64,
    revision: i64,
    reserved_slugs: Vec<String>,
    is_settling: bool,
    suspension: Option<String>,
    state_before_deletion: Option<String>,
    erase_after: Option<DateTime<Utc>>,
    labels: serde_json::Value,
    created_at: DateTime<Utc>,
}

/// All tenants' rows that `$rest` chooses.
macro_rules! rows {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            Row,
            r#"SELECT id, slug, name, kind, state, plan, server_id, freehold_version, schema_version,
                      pinned_version, epoch, revision, is_settling, suspension_reason AS suspension, state_before_deletion, erase_after, labels, created_at,
                      ARRAY(SELECT s.slug FROM slugs s WHERE s.tenant_id = tenants.id AND s.expires_at > now())
                          AS "reserved_slugs!"
               FROM tenants "# + $rest,
            $($argument),*
        )
    };
}

impl TryFrom<Row> for Tenant {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: TenantId::from_uuid(row.id),
            slug: Slug::from_stored(&row.slug).map_err(Error::internal)?,
            name: row.name,
            is_platform: row.kind == "platform",
            state: row.state.parse()?,
            plan: row.plan,
            server_id: ServerId::from_uuid(row.server_id),
            versions: SchemaVersions { freehold: row.freehold_version, product: row.schema_version },
            pinned: row.pinned_version,
            epoch: row.epoch,
            revision: row.revision,
            reserved_slugs: row.reserved_slugs.iter().filter_map(|slug| Slug::from_stored(slug).ok()).collect(),
            is_settling: row.is_settling,
            suspension: row.suspension,
            state_before_deletion: row.state_before_deletion.map(|state| state.parse()).transpose()?,
            erase_after: row.erase_after,
            labels: row.labels,
            created_at: row.created_at,
        })
    }
}

/// Records a tenant and gives it its slug: `active` when its database is ready. A taken slug is a conflict, an unknown
/// plan an error on its field.
pub async fn insert_in_txn(txn: &mut PgConnection, new: &NewTenant) -> Result<Tenant> {
    let state = if new.versions.is_some() { TenantState::Active } else { TenantState::Provisioning };
    let versions = new.versions.unwrap_or_default();
    // The tenant before its slug, in the order of those who rename one: they and this would else wait for each other.
    let row = sqlx::query!(
        r#"WITH made AS (
             INSERT INTO tenants (id, slug, name, kind, state, plan, server_id, freehold_version, schema_version,
                                  is_settling)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             RETURNING id, slug, epoch, revision, labels, created_at
         ), taken AS (
             INSERT INTO slugs AS held (slug, tenant_id) SELECT slug, id FROM made
             ON CONFLICT (slug) DO UPDATE SET tenant_id = excluded.tenant_id, expires_at = NULL
             WHERE held.expires_at <= now()
             RETURNING slug
         )
         SELECT epoch, revision, labels, created_at, EXISTS (SELECT FROM taken) AS "has_slug!" FROM made"#,
        new.id.uuid(),
        new.slug.as_str(),
        new.name.as_str(),
        if new.is_platform { "platform" } else { "customer" },
        state.as_str(),
        new.plan,
        new.server_id.uuid(),
        versions.freehold,
        versions.product,
        new.is_settling
    )
    .fetch_one(&mut *txn)
    .await
    .map_err(|error| match constraint(&error) {
        Some("tenants_slug_key") => slugs::taken(),
        Some("tenants_platform_key") => Error::conflict("already_bootstrapped", "there is a platform tenant already"),
        Some("tenants_plan_fkey") => FieldError::new("plan", "unknown_plan", "there is no such plan").into(),
        _ => error.into(),
    })?;
    if !row.has_slug {
        return Err(slugs::taken());
    }
    Ok(Tenant {
        id: new.id,
        slug: new.slug.clone(),
        name: new.name.to_string(),
        is_platform: new.is_platform,
        state,
        plan: new.plan.clone(),
        server_id: new.server_id,
        versions,
        pinned: None,
        epoch: row.epoch,
        revision: row.revision,
        reserved_slugs: Vec::new(),
        is_settling: new.is_settling,
        suspension: None,
        state_before_deletion: None,
        erase_after: None,
        labels: row.labels,
        created_at: row.created_at,
    })
}

/// The tenant with this id.
pub async fn get(connection: &mut PgConnection, id: TenantId) -> Result<Option<Tenant>> {
    let query = rows!("WHERE id = $1", id.uuid());
    query.fetch_optional(connection).await?.map(Tenant::try_from).transpose()
}

/// The tenant that holds this slug: has it, had it, or had it when it was deleted.
pub async fn by_slug(connection: &mut PgConnection, slug: &Slug) -> Result<Option<Tenant>> {
    let query = rows!(
        "WHERE id = (SELECT tenant_id FROM slugs WHERE slug = $1 AND (expires_at IS NULL OR expires_at > now()))",
        slug.as_str()
    );
    query.fetch_optional(connection).await?.map(Tenant::try_from).transpose()
}

/// The platform tenant, once `bootstrap` has made it.
pub async fn platform(connection: &mut PgConnection) -> Result<Option<Tenant>> {
    let query = rows!("WHERE kind = 'platform'");
    query.fetch_optional(connection).await?.map(Tenant::try_from).transpose()
}

/// Every tenant whose revision is above `revision`, in the order of their revisions.
pub async fn changed_since(connection: &mut PgConnection, revision: i64) -> Result<Vec<Tenant>> {
    let query = rows!("WHERE revision > $1 ORDER BY revision", revision);
    query.fetch_all(connection).await?.into_iter().map(Tenant::try_from).collect()
}

/// The first `limit` tenants after `after`, by id, that have an open database.
pub async fn open_after(connection: &mut PgConnection, after: Option<TenantId>, limit: i64) -> Result<Vec<Tenant>> {
    let query = rows!(
        "WHERE state IN ('active', 'suspended') AND ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2",
        after.map(TenantId::uuid) as _,
        limit
    );
    query.fetch_all(connection).await?.into_iter().map(Tenant::try_from).collect()
}

/// The revisions of `limit` tenants, the lowest ones above `revision`, in their order.
pub async fn revisions_after(connection: &mut PgConnection, revision: i64, limit: i64) -> Result<Vec<(TenantId, i64)>> {
    let sql = sqlx::query!(
        "SELECT id, revision FROM tenants WHERE revision > $1 ORDER BY revision LIMIT $2",
        revision,
        limit
    );
    let rows = sql.fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (TenantId::from_uuid(row.id), row.revision)).collect())
}

/// A page of customers' tenants, newest first: at most `limit` of those before `before` (time and id of the
/// last one seen).
pub async fn page(
    connection: &mut PgConnection,
    filter: &Filter,
    before: Option<(DateTime<Utc>, TenantId)>,
    limit: i64,
) -> Result<Vec<Tenant>> {
    let query = rows!(
        "WHERE kind = 'customer'
           AND ($1::text IS NULL OR slug ILIKE $1 OR name ILIKE $1)
           AND ($2::text IS NULL OR state = $2)
           AND ($3::text IS NULL OR plan = $3)
           AND ($4::uuid IS NULL OR server_id = $4)
           AND ($5::timestamptz IS NULL OR (created_at, id) < ($5, $6))
         ORDER BY created_at DESC, id DESC LIMIT $7",
        filter.q.as_deref().map(contains),
        filter.state.map(TenantState::as_str),
        filter.plan,
        filter.server_id.map(ServerId::uuid),
        before.map(|(at, _)| at),
        before.map(|(_, id)| id.uuid()),
        limit
    );
    query.fetch_all(connection).await?.into_iter().map(Tenant::try_from).collect()
}

/// How many customers' tenants `filter` admits.
pub async fn count(connection: &mut PgConnection, filter: &Filter) -> Result<i64> {
    let query = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM tenants
         WHERE kind = 'customer'
           AND ($1::text IS NULL OR slug ILIKE $1 OR name ILIKE $1)
           AND ($2::text IS NULL OR state = $2)
           AND ($3::text IS NULL OR plan = $3)
           AND ($4::uuid IS NULL OR server_id = $4)"#,
        filter.q.as_deref().map(contains),
        filter.state.map(TenantState::as_str),
        filter.plan,
        filter.server_id.map(ServerId::uuid)
    );
    Ok(query.fetch_one(connection).await?)
}

/// Lets requests in: to the tenant of the claimed operation, whose database has just been made, of these versions, or
/// whose first administrator has. Touches no row when they are let in already. False, and nothing happens, when the
/// claim is no longer held.
///
/// One statement for what [`operation_claims::keep_in_txn`](super::operation_claims::keep_in_txn) and a change would
/// be: it takes the same locks in the same order.
pub async fn open(connection: &mut PgConnection, claim: Claim, versions: SchemaVersions) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"WITH tenant AS MATERIALIZED (
             SELECT t.id FROM tenants t JOIN operations o ON o.tenant_id = t.id WHERE o.id = $1 FOR NO KEY UPDATE OF t
         ), held AS MATERIALIZED (
             SELECT tenant_id FROM operations
             WHERE id = $1 AND generation = $2 AND state = 'running' AND (SELECT count(*) FROM tenant) >= 0
             FOR SHARE
         ), opened AS (
             UPDATE tenants t
             SET is_settling = false, state = CASE WHEN state = 'provisioning' THEN 'active' ELSE state END,
                 freehold_version = CASE WHEN state = 'provisioning' THEN $3 ELSE freehold_version END,
                 schema_version = CASE WHEN state = 'provisioning' THEN $4 ELSE schema_version END,
                 epoch = epoch + CASE WHEN state = 'provisioning' THEN 1 ELSE 0 END
             FROM held
             WHERE t.id = held.tenant_id AND (t.state = 'provisioning' OR t.is_settling)
         )
         SELECT EXISTS (SELECT FROM held) AS "held!""#,
        claim.id.uuid(),
        claim.generation,
        versions.freehold,
        versions.product
    );
    Ok(query.fetch_one(connection).await?)
}

/// Leaves of the tenant a tombstone: its id, its slug for display, and nothing that anybody has written about it.
pub async fn bury_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<()> {
    sqlx::query!(
        "UPDATE tenants
         SET state = 'deleted', epoch = epoch + 1, is_settling = false, erase_after = NULL, name = '', labels = '{}',
             suspended_at = NULL, suspension_reason = NULL, state_before_deletion = NULL
         WHERE id = $1 AND state <> 'deleted'",
        id.uuid()
    )
    .execute(&mut *txn)
    .await?;
    sqlx::query!("DELETE FROM signing_keys WHERE tenant_id = $1", id.uuid()).execute(txn).await?;
    Ok(())
}

/// The tenant with this id, which nobody else changes until the transaction ends. As strong as a change of it: its key
/// stays, so that rows which refer to it, its archives and slugs, can be written meanwhile.
pub async fn lock_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<Option<Tenant>> {
    let locked = sqlx::query_scalar!("SELECT id FROM tenants WHERE id = $1 FOR NO KEY UPDATE", id.uuid());
    // Read by a statement of its own, which sees what the lock was waited for.
    if locked.fetch_optional(&mut *txn).await?.is_some() { get(txn, id).await } else { Ok(None) }
}

/// The same, but never waits: `None` also while somebody else changes it.
pub async fn try_lock_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<Option<Tenant>> {
    let locked = sqlx::query_scalar!("SELECT id FROM tenants WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED", id.uuid());
    if locked.fetch_optional(&mut *txn).await?.is_some() { get(txn, id).await } else { Ok(None) }
}

/// Tells every replica that something changed that belongs to the tenant but is not in its row: its secrets.
pub async fn touch_in_txn(txn: &mut PgConnection, id: TenantId) -> Result<()> {
    // The trigger does the rest.
    sqlx::query!("UPDATE tenants SET updated_at = now() WHERE id = $1", id.uuid()).execute(txn).await?;
    Ok(())
}

/// Makes every replica forget what it cached about the tenant's sessions and rights. The new epoch.
pub async fn raise_epoch(connection: &mut PgConnection, id: TenantId) -> Result<i64> {
    let query = sqlx::query_scalar!("UPDATE tenants SET epoch = epoch + 1 WHERE id = $1 RETURNING epoch", id.uuid());
    Ok(query.fetch_one(connection).await?)
}

/// A LIKE pattern for texts that contain `text` as it stands.
fn contains(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
