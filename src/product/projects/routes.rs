//! `/v1/projects`.

use axum::{extract::State, http::StatusCode};
use utoipa_axum::routes;

use super::{NewProject, Project, ProjectFilter, ProjectId, ProjectPatch, ProjectsRead, ProjectsWrite, store};
use crate::{
    error::Result,
    http::{
        AppState, Routes,
        extract::{IdempotencyKey, IfMatch, Json, List, Listing, Member, NoBody, Page, Path},
        problem::Problem,
    },
    product::{answer::Created, stored::Versioned},
    tenancy::{Tenancy, idempotency::once},
};

const COLLECTION: &str = "/v1/projects";

pub(in crate::product) fn routes() -> Routes {
    Routes::new().routes(routes!(list, create)).routes(routes!(get, update, delete))
}

/// Lists projects.
#[utoipa::path(get, path = COLLECTION, tag = "projects", operation_id = "list_projects",
    params(Page, ProjectFilter),
    responses((status = 200, description = "A page of projects", body = Listing<Project>)))]
async fn list(
    caller: Member<ProjectsRead>,
    State(tenancy): State<Tenancy>,
    List { page, filter }: List<ProjectFilter>,
) -> Result<Json<Listing<Project>>> {
    let conn = tenancy.connect(caller.tenant.id).await?;
    store::list(&conn, &filter, &page).await.map(Json)
}

/// Makes a project.
#[utoipa::path(post, path = COLLECTION, tag = "projects", operation_id = "create_project",
    request_body = NewProject,
    params(("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt")),
    responses(
        (status = 201, description = "It is made", body = Project, headers(
            ("Location" = String, description = "Where it can be read"),
            ("ETag" = String, description = "Its version"),
        )),
        (status = 409, description = "A request with this key is still at work", body = Problem,
            content_type = "application/problem+json"),
    ))]
async fn create(
    caller: Member<ProjectsWrite>,
    State(state): State<AppState>,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewProject>,
) -> Result<Created> {
    let id = ProjectId::generate(&state.clock, state.random);
    let idempotency = caller.idempotency(key, COLLECTION, &new)?;
    let mut conn = state.tenancy.connect(caller.tenant.id).await?;
    once(&mut conn, idempotency.as_ref(), id.uuid(), async |txn| {
        let project = store::insert_in_txn(txn, id, &new, caller.principal.user()).await?;
        Created::new(format!("{COLLECTION}/{id}"), &project)
    })
    .await
}

/// One project.
#[utoipa::path(get, path = "/v1/projects/{id}", tag = "projects", operation_id = "get_project",
    params(("id" = ProjectId, Path)),
    responses((status = 200, description = "The project", body = Project, headers(("ETag" = String)))))]
async fn get(
    caller: Member<ProjectsRead>,
    State(tenancy): State<Tenancy>,
    Path(id): Path<ProjectId>,
) -> Result<Versioned<Project>> {
    let conn = tenancy.connect(caller.tenant.id).await?;
    store::get(&conn, id).await
}

/// Changes a project.
#[utoipa::path(patch, path = "/v1/projects/{id}", tag = "projects", operation_id = "update_project",
    request_body = ProjectPatch,
    params(
        ("id" = ProjectId, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to change"),
    ),
    responses(
        (status = 200, description = "The project as it is now", body = Project, headers(("ETag" = String))),
        (status = 412, description = "It is of another version", body = Problem,
            content_type = "application/problem+json"),
    ))]
async fn update(
    caller: Member<ProjectsWrite>,
    State(tenancy): State<Tenancy>,
    Path(id): Path<ProjectId>,
    expected: Option<IfMatch>,
    Json(patch): Json<ProjectPatch>,
) -> Result<Versioned<Project>> {
    let mut conn = tenancy.connect(caller.tenant.id).await?;
    store::update(&mut conn, id, patch, expected.as_ref()).await
}

/// Deletes a project and its tasks.
#[utoipa::path(delete, path = "/v1/projects/{id}", tag = "projects", operation_id = "delete_project",
    params(
        ("id" = ProjectId, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to delete"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 412, description = "It is of another version", body = Problem,
            content_type = "application/problem+json"),
    ))]
async fn delete(
    caller: Member<ProjectsWrite>,
    State(tenancy): State<Tenancy>,
    Path(id): Path<ProjectId>,
    expected: Option<IfMatch>,
    _: NoBody,
) -> Result<StatusCode> {
    let mut conn = tenancy.connect(caller.tenant.id).await?;
    store::delete(&mut conn, id, expected.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT)
}
