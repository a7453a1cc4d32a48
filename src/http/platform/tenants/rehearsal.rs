//! `/platform/v1/tenants/{id}/rehearse` and `/rehearsal`: migrations on a copy of the tenant's database.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    control::{
        rehearsals,
        tenants::{self, TenantState},
    },
    error::Error,
    http::{
        AppState,
        extract::{Json, JsonIfAny, Operator, Path, right},
        problem::Problem,
    },
    migrations::{RehearsedLock, RehearsedStatement},
    operations::tenants::migration_rehearsal,
    types::{OperationId, Stream, TenantId},
};

/// How far the copy is taken.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRehearsal {
    /// The version of the product's stream; the newest unless said otherwise.
    target_version: Option<i32>,
}

/// The operation that rehearses.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rehearsing {
    /// The operation. What it has found is at `/platform/v1/tenants/{id}/rehearsal`.
    operation_id: OperationId,
}

/// What a rehearsal has shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rehearsal)]
pub(super) struct RehearsalView {
    /// The operation that it was.
    operation_id: OperationId,
    /// The version of the product's stream that the tenant had.
    from_version: i32,
    /// The one that its copy was taken to.
    to_version: i32,
    /// Whether every statement was run without an error.
    succeeded: bool,
    /// What each statement did, in order. The last one failed if `succeeded` is false.
    statements: Vec<StatementView>,
    /// When that was.
    rehearsed_at: DateTime<Utc>,
}

/// What a statement did to a copy of the tenant's database.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RehearsedStatement)]
struct StatementView {
    /// Of which stream.
    stream: Stream,
    /// Its file.
    file: String,
    /// Where it begins there.
    line: usize,
    /// How it begins.
    #[schema(example = "ALTER TABLE projects ADD COLUMN colour text;")]
    statement: String,
    /// How long it took.
    duration_ms: u64,
    /// How many rows it touched.
    rows: u64,
    /// The locks that it took on what was there before its file.
    locks: Vec<LockView>,
    /// The tables that it stored anew.
    rewritten: Vec<String>,
    /// Why it failed.
    error: Option<String>,
}

/// A lock on a table or an index.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RehearsedLock)]
struct LockView {
    /// On what.
    table: String,
    /// PostgreSQL's name of its mode.
    #[schema(example = "AccessExclusiveLock")]
    mode: String,
    /// How long it was held, to the end of the transaction.
    held_ms: u64,
    /// Whether nobody else can write to the table meanwhile.
    keeps_writers_out: bool,
}

impl From<RehearsedLock> for LockView {
    fn from(held: RehearsedLock) -> Self {
        let keeps_writers_out = held.keeps_writers_out();
        Self { table: held.table, mode: held.mode, held_ms: held.millis, keeps_writers_out }
    }
}

impl From<RehearsedStatement> for StatementView {
    fn from(tried: RehearsedStatement) -> Self {
        Self {
            stream: tried.stream,
            file: tried.file,
            line: tried.line,
            statement: tried.statement,
            duration_ms: tried.millis,
            rows: tried.rows,
            locks: tried.locks.into_iter().map(LockView::from).collect(),
            rewritten: tried.rewritten,
            error: tried.error,
        }
    }
}

/// Runs the migrations that the tenant lacks on a copy of its database, which is dropped afterwards.
///
/// The tenant serves meanwhile, and nothing of it changes.
#[utoipa::path(post, path = "/platform/v1/tenants/{id}/rehearse", tag = "tenants", operation_id = "rehearse_tenant",
    params(("id" = TenantId, Path)), request_body = NewRehearsal, responses(
    (status = 202, description = "It is rehearsed; see Location", body = Rehearsing),
    (status = 409, description = "Another operation is under way, or the tenant has no database", body = Problem),
    (status = 410, description = "It has been deleted", body = Problem),
    (status = 422, description = "No such version is published", body = Problem),
))]
pub(super) async fn rehearse(
    caller: Operator<right::RolloutsWrite>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
    JsonIfAny(body): JsonIfAny<NewRehearsal>,
) -> Result<Response, Problem> {
    let started = migration_rehearsal::start(&state.operations, id, body.target_version, &caller.origin()).await?;
    let location = [(header::LOCATION, format!("/platform/v1/operations/{started}"))];
    Ok((StatusCode::ACCEPTED, location, Json(Rehearsing { operation_id: started })).into_response())
}

/// What the last rehearsal on a copy of the tenant's database has shown.
#[utoipa::path(get, path = "/platform/v1/tenants/{id}/rehearsal", tag = "tenants", operation_id = "get_rehearsal",
    params(("id" = TenantId, Path)), responses(
    (status = 200, description = "Statement by statement", body = RehearsalView),
    (status = 404, description = "There is no such tenant, or nothing was rehearsed", body = Problem),
    (status = 410, description = "It has been deleted, and so has what was recorded", body = Problem),
))]
pub(super) async fn last(
    _: Operator<right::RolloutsRead>,
    State(state): State<AppState>,
    Path(id): Path<TenantId>,
) -> Result<Json<RehearsalView>, Problem> {
    let mut connection = state.operations.db.acquire().await?;
    let tenant = tenants::get(&mut connection, id).await?.ok_or_else(|| Error::not_found("tenant"))?;
    if tenant.state == TenantState::Deleted {
        let detail = "the tenant is deleted, and so is what was rehearsed".to_owned();
        return Err(Error::Gone { code: "tenant_gone", detail }.into());
    }
    let found = rehearsals::get(&mut connection, id).await?;
    let found = found.ok_or_else(|| Error::not_found("rehearsal"))?;
    let tried: Vec<RehearsedStatement> = serde_json::from_value(found.statements).map_err(Error::internal)?;
    let succeeded = tried.iter().all(|tried| tried.error.is_none());
    Ok(Json(RehearsalView {
        operation_id: found.operation,
        from_version: found.from.product,
        to_version: found.to.product,
        succeeded,
        statements: tried.into_iter().map(StatementView::from).collect(),
        rehearsed_at: found.rehearsed_at,
    }))
}
