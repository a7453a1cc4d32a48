//! `/v1/tasks`, and a project's own tasks below `/v1/projects/{id}`.

use axum::{extract::State, http::StatusCode};
use utoipa_axum::routes;

use super::{NewTask, Task, TaskFilter, TaskId, TaskPatch, TasksRead, TasksWrite, store};
use crate::{
    error::Result,
    http::{
        AppState, Routes,
        extract::{IdempotencyKey, IfMatch, Json, List, Listing, Member, NoBody, Page, Path},
        problem::Problem,
    },
    product::{answer::Created, projects::ProjectId, stored::Versioned},
    tenancy::{Tenancy, idempotency::once},
};

const OF_PROJECT: &str = "/v1/projects/{id}/tasks";

pub(in crate::product) fn routes() -> Routes {
    Routes::new().routes(routes!(list_of_project, create)).routes(routes!(list)).routes(routes!(get, update, delete))
}

/// Lists tasks across projects.
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", operation_id = "list_tasks",
    params(Page, TaskFilter),
    responses((status = 200, description = "A page of tasks", body = Listing<Task>)))]
async fn list(
    caller: Member<TasksRead>,
    State(tenancy): State<Tenancy>,
    List { page, filter }: List<TaskFilter>,
) -> Result<Json<Listing<Task>>> {
    let conn = tenancy.connect(caller.tenant.id).await?;
    store::list(&conn, &filter, &page).await.map(Json)
}

/// Lists the tasks of a project.
#[utoipa::path(get, path = OF_PROJECT, tag = "tasks", operation_id = "list_tasks_of_project",
    params(("id" = ProjectId, Path), Page, TaskFilter),
    responses((status = 200, description = "A page of its tasks", body = Listing<Task>)))]
async fn list_of_project(
    caller: Member<TasksRead>,
    State(tenancy): State<Tenancy>,
    Path(project): Path<ProjectId>,
    List { page, filter }: List<TaskFilter>,
) -> Result<Json<Listing<Task>>> {
    let conn = tenancy.connect(caller.tenant.id).await?;
    store::list_of_project(&conn, project, filter, &page).await.map(Json)
}

/// Makes a task in a project.
#[utoipa::path(post, path = OF_PROJECT, tag = "tasks", operation_id = "create_task",
    request_body = NewTask,
    params(
        ("id" = ProjectId, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "The client's own name for this attempt"),
    ),
    responses(
        (status = 201, description = "It is made", body = Task, headers(
            ("Location" = String, description = "Where it can be read"),
            ("ETag" = String, description = "Its version"),
        )),
        (status = 409, description = "The project is archived, or a request with this key is still at work",
            body = Problem, content_type = "application/problem+json"),
    ))]
async fn create(
    caller: Member<TasksWrite>,
    State(state): State<AppState>,
    Path(project): Path<ProjectId>,
    key: Option<IdempotencyKey>,
    Json(new): Json<NewTask>,
) -> Result<Created> {
    let id = TaskId::generate(&state.clock, state.random);
    let idempotency = caller.idempotency(key, OF_PROJECT, &(project, &new))?;
    let mut conn = state.tenancy.connect(caller.tenant.id).await?;
    once(&mut conn, idempotency.as_ref(), id.uuid(), async |txn| {
        let task = store::insert_in_txn(txn, (id, project), &new, caller.principal.user()).await?;
        Created::new(format!("/v1/tasks/{id}"), &task)
    })
    .await
}

/// One task.
#[utoipa::path(get, path = "/v1/tasks/{id}", tag = "tasks", operation_id = "get_task",
    params(("id" = TaskId, Path)),
    responses((status = 200, description = "The task", body = Task, headers(("ETag" = String)))))]
async fn get(
    caller: Member<TasksRead>,
    State(tenancy): State<Tenancy>,
    Path(id): Path<TaskId>,
) -> Result<Versioned<Task>> {
    let conn = tenancy.connect(caller.tenant.id).await?;
    store::get(&conn, id).await
}

/// Changes a task.
#[utoipa::path(patch, path = "/v1/tasks/{id}", tag = "tasks", operation_id = "update_task",
    request_body = TaskPatch,
    params(
        ("id" = TaskId, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to change"),
    ),
    responses(
        (status = 200, description = "The task as it is now", body = Task, headers(("ETag" = String))),
        (status = 412, description = "It is of another version", body = Problem,
            content_type = "application/problem+json"),
    ))]
async fn update(
    caller: Member<TasksWrite>,
    State(tenancy): State<Tenancy>,
    Path(id): Path<TaskId>,
    expected: Option<IfMatch>,
    Json(patch): Json<TaskPatch>,
) -> Result<Versioned<Task>> {
    let mut conn = tenancy.connect(caller.tenant.id).await?;
    store::update(&mut conn, id, patch, expected.as_ref()).await
}

/// Deletes a task.
#[utoipa::path(delete, path = "/v1/tasks/{id}", tag = "tasks", operation_id = "delete_task",
    params(
        ("id" = TaskId, Path),
        ("If-Match" = Option<String>, Header, description = "The ETag of the version to delete"),
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 412, description = "It is of another version", body = Problem,
            content_type = "application/problem+json"),
    ))]
async fn delete(
    caller: Member<TasksWrite>,
    State(tenancy): State<Tenancy>,
    Path(id): Path<TaskId>,
    expected: Option<IfMatch>,
    _: NoBody,
) -> Result<StatusCode> {
    let mut conn = tenancy.connect(caller.tenant.id).await?;
    store::delete(&mut conn, id, expected.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT)
}
