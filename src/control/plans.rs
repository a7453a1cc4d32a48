//! Table `plans`: limits, quotas and features, read from their stored form once, here.
//!
//! Every change notifies all replicas (a trigger does), which keep the plans beside their tenants.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::error::{Error, Result};

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Unique name.
    pub name: String,
    /// How much may be asked in a time.
    pub limits: Limits,
    /// How much there may be.
    pub quotas: Quotas,
    /// Switches.
    pub features: Vec<String>,
}

/// How many requests may come; none = unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Limits {
    /// How many may come at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// In a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_day: Option<u64>,
    /// In an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_hour: Option<u64>,
    /// In a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
}

/// How much a tenant may have; none = unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Quotas {
    /// API keys that are valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_keys: Option<u64>,
    /// Connections to its database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// The size of its database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
    /// People.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u64>,
}

struct Row {
    name: String,
    limits: serde_json::Value,
    quotas: serde_json::Value,
    features: Vec<String>,
}

impl TryFrom<Row> for Plan {
    type Error = Error;

    /// An amount under a name that this release does not know is a newer release's, and passed over.
    fn try_from(row: Row) -> Result<Self> {
        let unreadable = |error| Error::defect(format!("the plan {} cannot be read: {error}", row.name));
        Ok(Self {
            limits: serde_json::from_value(row.limits).map_err(unreadable)?,
            quotas: serde_json::from_value(row.quotas).map_err(unreadable)?,
            name: row.name,
            features: row.features,
        })
    }
}

/// All plans by name.
pub async fn list(connection: &mut PgConnection) -> Result<Vec<Plan>> {
    rows(connection).await?.into_iter().map(Plan::try_from).collect()
}

/// All plans but those that cannot be read, which the log names: one of them must not take the others away.
pub async fn readable(connection: &mut PgConnection) -> Result<Vec<Plan>> {
    let unreadable = |error: &Error| tracing::error!(error = error.chain(), "a plan cannot be read");
    let plans = rows(connection).await?.into_iter().map(Plan::try_from);
    Ok(plans.filter_map(|plan| plan.inspect_err(unreadable).ok()).collect())
}

async fn rows(connection: &mut PgConnection) -> Result<Vec<Row>> {
    let query = sqlx::query_as!(
        Row,
        r#"SELECT name, limits, quotas, array_remove(features, NULL) AS "features!" FROM plans ORDER BY name"#
    );
    Ok(query.fetch_all(connection).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(limits: Value, quotas: Value) -> Result<Plan> {
        Row { name: "gold".into(), limits, quotas, features: vec!["sso".into()] }.try_into()
    }

    #[test]
    fn absent_and_null_mean_unlimited_and_zero_means_none() {
        let plan = plan(json!({ "burst": null, "requests_per_minute": 0 }), json!({ "users": 9 })).unwrap();
        assert_eq!(plan.limits, Limits { requests_per_minute: Some(0), ..Limits::default() });
        assert_eq!(plan.quotas, Quotas { users: Some(9), ..Quotas::default() });
        assert_eq!(serde_json::to_value(plan.limits).unwrap(), json!({ "requests_per_minute": 0 }));
    }

    #[test]
    fn a_newer_name_is_passed_over_and_a_wrong_amount_is_an_error() {
        assert_eq!(plan(json!({ "requests_per_year": 1 }), json!({})).unwrap().limits, Limits::default());
        for wrong in [json!({ "burst": -1 }), json!({ "burst": "1" }), json!({ "burst": 1.5 }), json!(7)] {
            assert_eq!(plan(wrong.clone(), json!({})).unwrap_err().code(), "internal", "{wrong}");
        }
    }
}
