//! What a tenant is called, which plan it is on, and its labels. One transaction.
//!
//! A renamed tenant keeps its former slug for a time: its old host leads to the new one, nobody else can take it,
//! and tokens from before go on working. What was changed is in the audit log by name, and by value only where a
//! value cannot be personal.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Context,
    change::{Change, refuse},
};
use crate::{
    control::{
        audit::Origin,
        tenant_states,
        tenants::{Tenant, TenantState},
    },
    error::{FieldError, Result},
    faults::crash_point,
    types::{DisplayName, Slug, TenantId},
};

/// How many labels a tenant may have, and how long they may be, in bytes.
const LABELS: usize = 50;
const LABEL_NAME: usize = 63;
const LABEL_VALUE: usize = 255;

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
    tenant_states::describe_in_txn(&mut change.txn, id, &wanted.name, &wanted.plan, &wanted.labels).await?;
    if wanted.slug != change.tenant.slug {
        tenant_states::rename_in_txn(&mut change.txn, id, &wanted.slug, ctx.settings.slug_redirect).await?;
    }
    change.record("tenant.update", &details).await?;
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
            labels: merged(&tenant.labels, patch.labels)?,
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

fn merged(labels: &Value, changes: BTreeMap<String, Option<String>>) -> Result<Value> {
    let mut merged = labels.as_object().cloned().unwrap_or_default();
    for (name, value) in changes {
        let fits =
            (1..=LABEL_NAME).contains(&name.len()) && value.as_ref().is_none_or(|text| text.len() <= LABEL_VALUE);
        if !fits {
            let rule = format!("must have names of 1 to {LABEL_NAME} characters and values of at most {LABEL_VALUE}");
            return Err(FieldError::new("labels", "too_many", rule).into());
        }
        match value {
            Some(value) => drop(merged.insert(name, value.into())),
            None => drop(merged.remove(&name)),
        }
    }
    if merged.len() > LABELS {
        return Err(FieldError::new("labels", "too_many", format!("must be {LABELS} at most")).into());
    }
    Ok(merged.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_merged_and_bounded() {
        let changes = |pairs: &[(&str, Option<&str>)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
        };
        let labels = json!({ "tier": "gold", "region": "eu" });
        let merge = |pairs: &[_]| merged(&labels, changes(pairs));
        assert_eq!(merge(&[]).unwrap(), labels);
        let expected = json!({ "tier": "gold", "owner": "ada" });
        assert_eq!(merge(&[("region", None), ("owner", Some("ada")), ("nothing", None)]).unwrap(), expected);
        let long = "x".repeat(256);
        assert!(merge(&[("", Some("x"))]).is_err() && merge(&[("x", Some(&*long))]).is_err());
        let names: Vec<_> = (0..49).map(|number| number.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), Some("x"))).collect();
        assert!(merge(&many[..48]).is_ok() && merge(&many).is_err());
    }
}
