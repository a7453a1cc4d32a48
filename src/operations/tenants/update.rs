//! Changes a tenant's slug, name, plan, labels and pin, in one transaction.
//!
//! A renamed tenant keeps its former slug for a time: the old host redirects to the new one, no other tenant can take
//! the slug, and tokens that were issued before stay valid. The audit log names each changed field. It has the values
//! only of fields that cannot be personal data.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::change::{Change, refuse};
use crate::{
    control::{
        audit::Origin,
        tenant_states,
        tenants::{Tenant, TenantState},
    },
    error::{FieldError, Result},
    faults::crash_point,
    operations::{Context, labels},
    types::{DisplayName, Slug, TenantId},
};

/// The fields to change. An absent field keeps its value.
#[derive(Debug, Default)]
pub struct Patch {
    /// Its public name.
    pub slug: Option<Slug>,
    /// Its name for people.
    pub name: Option<DisplayName>,
    /// The name of its plan.
    pub plan: Option<String>,
    /// The version of the product's stream beyond which rollouts do not take it; `None` within lets it go.
    pub pinned: Option<Option<i32>>,
    /// Labels to set, or to remove (`None`). All other labels stay.
    pub labels: BTreeMap<String, Option<String>>,
}

/// Changes the tenant if `expected` accepts its revision. If every field has the wanted value already, nothing changes.
///
/// # Errors
/// `not_found`; `precondition_failed` (412), from `expected`; `slug_taken`, `tenant_state_conflict` (409);
/// `tenant_gone` (410); `validation_failed` on `plan`, `labels` or `pinned_version`.
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
    if wanted.pinned != change.tenant.pinned {
        tenant_states::pin_in_txn(change.txn(), id, wanted.pinned).await?;
    }
    if wanted.slug != change.tenant.slug {
        tenant_states::rename_in_txn(change.txn(), id, &wanted.slug, ctx.settings.slug_redirect).await?;
    }
    let change = change.record("tenant.update", &details).await?;
    crash_point!("tenant.update.before_commit", id);
    let tenant = change.commit().await?;
    crash_point!("tenant.update.after_commit", id);
    Ok(tenant)
}

/// The wanted values of all fields that can change.
struct Wanted {
    slug: Slug,
    name: String,
    plan: String,
    pinned: Option<i32>,
    labels: Value,
}

impl Wanted {
    fn new(tenant: &Tenant, patch: Patch) -> Result<Self> {
        let pinned = patch.pinned.unwrap_or(tenant.pinned);
        if pinned.is_some_and(|version| version < 0) {
            return Err(FieldError::new("pinned_version", "invalid_range", "must be 0 or more").into());
        }
        Ok(Self {
            pinned,
            slug: patch.slug.unwrap_or_else(|| tenant.slug.clone()),
            name: patch.name.map_or_else(|| tenant.name.clone(), |name| name.as_str().to_owned()),
            plan: patch.plan.unwrap_or_else(|| tenant.plan.clone()),
            labels: labels::merged(&tenant.labels, patch.labels)?,
        })
    }

    /// The changed fields, for the audit log. Empty when nothing changes.
    fn differences(&self, tenant: &Tenant) -> Value {
        let mut details = json!({});
        if self.slug != tenant.slug {
            details["slug"] = json!({ "from": tenant.slug, "to": self.slug });
        }
        if self.plan != tenant.plan {
            details["plan"] = json!({ "from": tenant.plan, "to": self.plan });
        }
        if self.pinned != tenant.pinned {
            details["pinned_version"] = json!({ "from": tenant.pinned, "to": self.pinned });
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
