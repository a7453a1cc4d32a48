//! `/platform/v1/audit-events`: what operators did to tenants, servers and rollouts.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        AppState,
        audit_log::{self, ChainQuery, EventFilter, ExportQuery, Log, View},
        extract::{Json, List, Listing, Operator, Page, Query, right},
        problem::Problem,
    },
    identity::audit::{self, Chain, Place, Source},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export)).routes(routes!(verify))
}

/// The audit log, newest first.
#[utoipa::path(get, path = "/platform/v1/audit-events", tag = "audit", operation_id = "list_audit_events",
    params(Page, EventFilter), responses(
    (status = 200, description = "A page of events", body = Listing<View>),
))]
async fn list(
    caller: Operator<right::AuditRead>,
    State(state): State<AppState>,
    List { page, filter }: List<EventFilter>,
) -> Result<Json<Listing<View>>, Problem> {
    let (source, before) = (Source::Platform(&caller.tenant), page.after::<Place>()?);
    let events = audit::page(&state.identity, source, &filter.into(), before, page.fetch()).await?;
    let views = events.into_iter().map(View::from).collect();
    Ok(Json(Listing::new(views, &page, |last: &View| (last.at, last.id))?))
}

/// All events that match, newest first, as a file. The operators' own log names each export.
#[utoipa::path(get, path = "/platform/v1/audit-events/export", tag = "audit", operation_id = "export_platform_log",
    params(ExportQuery), responses((status = 200, description = "The events", content(
        (String = "application/x-ndjson"),
        (String = "text/csv"),
    ))))]
async fn export(
    caller: Operator<right::AuditRead>,
    State(state): State<AppState>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let log = Log::Platform(Arc::clone(&caller.tenant));
    Ok(audit_log::export(&state, caller.caller(), log, query).await?)
}

/// Whether the log's events are what was written: looks at some batches of its chain.
#[utoipa::path(get, path = "/platform/v1/audit-events/chain", tag = "audit", operation_id = "verify_platform_chain",
    params(ChainQuery), responses((status = 200, description = "What the look has shown", body = Chain)))]
async fn verify(
    caller: Operator<right::AuditRead>,
    State(state): State<AppState>,
    Query(query): Query<ChainQuery>,
) -> Result<Json<Chain>, Problem> {
    Ok(Json(audit_log::verify(&state, Source::Platform(&caller.tenant), query).await?))
}
