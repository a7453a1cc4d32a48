//! What a tenant is called, which plan it is on, and its labels. One transaction.
//!
//! A renamed tenant keeps its former slug for a time: its old host leads to the new one, nobody else can take it,
//! and tokens from before go on working. What was changed is in the audit log by name, and by value only where a
//! value cannot be personal.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::change::{Change, refuse};
use crate::{
    control::{
        audit::Origin,
        tenant_states,
        tenants::{Tenant, TenantState},
    },
    error::Result,
    faults::crash_point,
    operations::{Context, labels},
    types::{DisplayName, Slug, TenantId},
};

/// What shall change; what is absent stays.
#[derive(Debug, Default)]
pub struct Patch {
    /// Its public name.
    pub slug: Option<Slug>,
    /// Its name for people.
    pub name: Option<DisplayName>,
    /// The name of its plan.
    pub plan: Option<String>,
    /// Labels to be set, or taken away (`None`); all others stay.
    pub labels: BTreeMap<String, Option<String>>,
}

/// Changes the tenant, if its revision is one that `expected` accepts. A change to what is so already is none.
///
/// # Errors
/// `not_found`; `precondition_failed` (412), from `expected`; `slug_taken`, `tenant_state_conflict` (409);
/// `tenant_gone` (410); `validation_failed` on `plan` or `labels`.
pub async fn update(
    ctx: &Context,
    id: TenantId,
    patch: Patch,
    expected: impl FnOnce(i64) -> Result<()>,
    origin: &Origin,
) -> Result<Tenant> {
    let mut change = Change::begin(ctx, id, origin).await?;
    match change.tenant.state {
        TenantState::Active | TenantState::Suspended | TenantState::Archived => {}
        state => return Err(refuse(state, "it cannot be changed")),
    }
    expected(change.tenant.revision)?;
    let wanted = Wanted::new(&change.tenant, patch)?;
    let details = wanted.differences(&change.tenant);
    if details == json!({}) {
        return change.leave().await;
    }
    tenant_states::describe_in_txn(change.txn(), id, &wanted.name, &wanted.plan, &wanted.labels).await?;
    if wanted.slug != change.tenant.slug {
        tenant_states::rename_in_txn(change.txn(), id, &wanted.slug, ctx.settings.slug_redirect).await?;
    }
    let change = change.record("tenant.update", &details).await?;
    crash_point!("tenant.update.before_commit", id);
    let tenant = change.commit().await?;
    crash_point!("tenant.update.after_commit", id);
    Ok(tenant)
}

/// All that can change, as it shall be.
struct Wanted {
    slug: Slug,
    name: String,
    plan: String,
    labels: Value,
}

impl Wanted {
    fn new(tenant: &Tenant, patch: Patch) -> Result<Self> {
        Ok(Self {
            slug: patch.slug.unwrap_or_else(|| tenant.slug.clone()),
            name: patch.name.map_or_else(|| tenant.name.clone(), |name| name.as_str().to_owned()),
            plan: patch.plan.unwrap_or_else(|| tenant.plan.clone()),
            labels: labels::merged(&tenant.labels, patch.labels)?,
        })
    }

    /// For the audit log: empty when nothing changes.
    fn differences(&self, tenant: &Tenant) -> Value {
        let mut details = json!({});
        if self.slug != tenant.slug {
            details["slug"] = json!({ "from": tenant.slug, "to": self.slug });
        }
        if self.plan != tenant.plan {
            details["plan"] = json!({ "from": tenant.plan, "to": self.plan });
        }
        if self.name != tenant.name {
            details["name"] = json!("changed");
        }
        if self.labels != tenant.labels {
            details["labels"] = json!("changed");
        }
        details
    }
}
