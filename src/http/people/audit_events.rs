//! `/v1/audit-events`: what a tenant's people did; and what each of them sees about themselves.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    http::{
        AppState,
        audit_log::{self, ChainQuery, EventFilter, ExportQuery, Log, View},
        extract::{Insider, Json, List, Listing, NoFilter, Page, Query, SignedIn, people_right::AuditEventsRead},
        problem::Problem,
    },
    identity::audit::{self, Chain, Place, Source},
};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(search))
        .routes(routes!(export))
        .routes(routes!(verify))
        .routes(routes!(security_log))
}

/// What the tenant's people did, newest first.
#[utoipa::path(get, path = "/v1/audit-events", tag = "audit", operation_id = "search_audit_events",
    params(Page, EventFilter), responses((status = 200, description = "A page of events", body = Listing<View>)))]
async fn search(
    caller: Insider<AuditEventsRead>,
    State(state): State<AppState>,
    List { page, filter }: List<EventFilter>,
) -> Result<Json<Listing<View>>, Problem> {
    let (source, before) = (Source::Tenant(&caller.tenant), page.after::<Place>()?);
    let events = audit::page(&state.identity, source, &filter.into(), before, page.fetch()).await?;
    let views = events.into_iter().map(View::from).collect();
    Ok(Json(Listing::new(views, &page, |last: &View| (last.at, last.id))?))
}

/// All events that match, newest first, as a file. The log names each export.
#[utoipa::path(get, path = "/v1/audit-events/export", tag = "audit", operation_id = "export_audit_events",
    params(ExportQuery), responses((status = 200, description = "The events", content(
        (String = "application/x-ndjson"),
        (String = "text/csv"),
    ))))]
async fn export(
    caller: Insider<AuditEventsRead>,
    State(state): State<AppState>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let log = Log::Tenant(Arc::clone(&caller.tenant));
    Ok(audit_log::export(&state, caller.caller(), log, query).await?)
}

/// Whether the log's events are what was written: looks at some batches of its chain.
#[utoipa::path(get, path = "/v1/audit-events/chain", tag = "audit", operation_id = "verify_audit_chain",
    params(ChainQuery), responses((status = 200, description = "What the look has shown", body = Chain)))]
async fn verify(
    caller: Insider<AuditEventsRead>,
    State(state): State<AppState>,
    Query(query): Query<ChainQuery>,
) -> Result<Json<Chain>, Problem> {
    Ok(Json(audit_log::verify(&state, Source::Tenant(&caller.tenant), query).await?))
}

/// What the caller did, and what others did to their account, newest first.
#[utoipa::path(get, path = "/v1/auth/security-log", tag = "auth", operation_id = "list_security_log", params(Page),
    responses((status = 200, description = "A page of events", body = Listing<View>)))]
async fn security_log(
    caller: SignedIn,
    State(state): State<AppState>,
    List { page, .. }: List<NoFilter>,
) -> Result<Json<Listing<View>>, Problem> {
    let events = audit::own(&state.identity, caller.caller(), page.after::<Place>()?, page.fetch()).await?;
    let views = events.into_iter().map(View::from).collect();
    Ok(Json(Listing::new(views, &page, |last: &View| (last.at, last.id))?))
}
