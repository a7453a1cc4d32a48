//! `/platform/v1/audit-events`: what operators did.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    control::audit::{self, Event},
    http::{
        AppState,
        extract::{Json, List, Listing, Operator, Page, right},
        problem::Problem,
    },
    types::AuditEventId,
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A line of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEvent)]
struct View {
    /// Its id.
    id: AuditEventId,
    /// When.
    at: DateTime<Utc>,
    /// Who.
    actor: String,
    /// What.
    #[schema(example = "tenant.create")]
    action: String,
    /// To what.
    target: Option<String>,
    /// From where.
    ip: Option<String>,
    /// With what.
    user_agent: Option<String>,
    /// Ties the event to log lines.
    request_id: Option<String>,
    /// More, by action.
    #[schema(value_type = Object)]
    details: serde_json::Value,
}

impl From<Event> for View {
    fn from(event: Event) -> Self {
        let Event { id, at, actor, action, target, ip, user_agent, request_id, details } = event;
        Self { id, at, actor, action, target, ip, user_agent, request_id, details }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListFilter {
    /// Only events about this: a tenant's or server's id.
    target: Option<String>,
}

/// The audit log, newest first.
#[utoipa::path(get, path = "/platform/v1/audit-events", tag = "audit", operation_id = "list_audit_events",
    params(Page, ListFilter), responses(
    (status = 200, description = "A page of events", body = Listing<View>),
))]
async fn list(
    _: Operator<right::AuditRead>,
    State(state): State<AppState>,
    List { page, filter }: List<ListFilter>,
) -> Result<Json<Listing<View>>, Problem> {
    let after = page.after::<(DateTime<Utc>, AuditEventId)>()?;
    let mut connection = state.operations.db.acquire().await?;
    let events = audit::page(&mut connection, filter.target.as_deref(), after, page.fetch()).await?;
    let views = events.into_iter().map(View::from).collect();
    Ok(Json(Listing::new(views, &page, |last: &View| (last.at, last.id))?))
}
