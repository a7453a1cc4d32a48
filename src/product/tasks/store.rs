//! Table `tasks`.

use chrono::NaiveDate;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{NewTask, Task, TaskFilter, TaskId, TaskPatch, TaskSort};
use crate::{
    error::{Error, FieldError, Result},
    http::extract::{IfMatch, Listing, Page},
    product::{
        date::Date,
        listing::{self, Column, Order, order},
        projects::{self, ProjectId},
        sql::sql,
        stored::{Stored, Versioned},
    },
    servers::constraint,
    tenancy::{Param, StatementError, Statements, TenantConn, TenantTxn},
    types::{Search, UserId},
};

const COLUMNS: &str = "id, project_id, title, description, status, priority, assignee_id, due_on, created_by, version,
     created_at, updated_at";

/// What a client lists and counts. `$1`: the project; `$2`: the assignee; `$3`: the status; `$4`: the priority; `$5`: the
/// day that they are due before; `$6`: what to find in the title or the description. Null: any.
const MATCHING: &str = " FROM tasks
     WHERE ($1::uuid IS NULL OR project_id = $1)
       AND ($2::uuid IS NULL OR assignee_id = $2)
       AND ($3::text IS NULL OR status = $3)
       AND ($4::text IS NULL OR priority = $4)
       AND ($5::date IS NULL OR due_on < $5)
       AND ($6::text IS NULL OR title ILIKE $6 OR description ILIKE $6)";

const COUNT: &str = sql!["SELECT count(*)", MATCHING];

const LIST: &str = sql!["SELECT ", COLUMNS, MATCHING];

const GET: &str = sql!["SELECT ", COLUMNS, " FROM tasks WHERE id = $1"];

const LOCK: &str = sql!["SELECT ", COLUMNS, " FROM tasks WHERE id = $1 FOR UPDATE"];

const INSERT: &str = sql![
    "INSERT INTO tasks (id, project_id, title, description, status, priority, assignee_id, due_on, created_by)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING ",
    COLUMNS
];

const UPDATE: &str = sql![
    "UPDATE tasks SET title = $2, description = $3, status = $4, priority = $5, assignee_id = $6, due_on = $7,
         version = version + 1, updated_at = now()
     WHERE id = $1 RETURNING ",
    COLUMNS
];

const DELETE: &str = "DELETE FROM tasks WHERE id = $1";

impl Stored for Task {
    const NAME: &'static str = "task";

    fn read(row: &Row) -> Result<Self> {
        let user = |column| Ok::<_, Error>(row.try_get::<_, Option<Uuid>>(column)?.map(UserId::from_uuid));
        Ok(Self {
            id: TaskId::from_uuid(row.try_get("id")?),
            project_id: ProjectId::from_uuid(row.try_get("project_id")?),
            title: row.try_get::<_, &str>("title")?.parse().map_err(Error::internal)?,
            description: row.try_get::<_, &str>("description")?.parse().map_err(Error::internal)?,
            status: row.try_get("status")?,
            priority: row.try_get("priority")?,
            assignee_id: user("assignee_id")?,
            due_on: row.try_get::<_, Option<NaiveDate>>("due_on")?.map(Date::from_stored),
            created_by: user("created_by")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    }

    fn id(&self) -> Uuid {
        self.id.uuid()
    }
}

impl TaskSort {
    const fn order(self) -> Order<Task> {
        const BY_CREATION: Column<Task> = Column::Time(|task| task.created_at);
        const BY_TITLE: Column<Task> = Column::Text(|task| task.title.as_str());
        const BY_CHANGE: Column<Task> = Column::Time(|task| task.updated_at);
        match self {
            Self::OldestFirst => order!(LIST, "created_at" ascending, limit "$7", after "$8, $9", BY_CREATION),
            Self::NewestFirst => order!(LIST, "created_at" descending, limit "$7", after "$8, $9", BY_CREATION),
            Self::TitleAscending => order!(LIST, "title" ascending, limit "$7", after "$8, $9", BY_TITLE),
            Self::TitleDescending => order!(LIST, "title" descending, limit "$7", after "$8, $9", BY_TITLE),
            Self::LongestUnchanged => order!(LIST, "updated_at" ascending, limit "$7", after "$8, $9", BY_CHANGE),
            Self::LatestChanged => order!(LIST, "updated_at" descending, limit "$7", after "$8, $9", BY_CHANGE),
        }
    }
}

/// One page of the tasks that match.
pub(super) async fn list(conn: &TenantConn, filter: &TaskFilter, page: &Page) -> Result<Listing<Task>> {
    let (project, assignee) = (filter.project_id.map(ProjectId::uuid), filter.assignee_id.map(UserId::uuid));
    let (due, q) = (filter.due_before.map(Date::naive), filter.q.as_ref().map(Search::pattern));
    let params: [Param<'_>; 6] = [&project, &assignee, &filter.status, &filter.priority, &due, &q];
    let order = (filter.sort, &filter.sort.order());
    listing::page(conn, COUNT, order, &params, page).await
}

/// One page of a project's tasks that match.
///
/// # Errors
/// `not_found` (404) without such a project; 422 on `project_id` when the filter names one too.
pub(super) async fn list_of_project(
    conn: &TenantConn,
    project: ProjectId,
    filter: TaskFilter,
    page: &Page,
) -> Result<Listing<Task>> {
    if filter.project_id.is_some() {
        return Err(FieldError::new("project_id", "unknown_field", "is given by the path here").into());
    }
    projects::store::get(conn, project).await?;
    list(conn, &TaskFilter { project_id: Some(project), ..filter }, page).await
}

/// The task with this id.
pub(super) async fn get(conn: &TenantConn, id: TaskId) -> Result<Versioned<Task>> {
    Versioned::found(conn.row(GET, &[&id.uuid()]).await?)
}

/// Makes a task in a project.
///
/// # Errors
/// `not_found` (404) without such a project; `project_archived` (409); `unknown_user` (422) on `assignee_id`.
pub(super) async fn insert_in_txn(
    txn: &TenantTxn<'_>,
    (id, project): (TaskId, ProjectId),
    new: &NewTask,
    created_by: UserId,
) -> Result<Versioned<Task>> {
    projects::store::require_active_in_txn(txn, project).await?;
    let (title, description) = (new.title.as_str(), new.description.as_str());
    let (assignee, due) = (new.assignee_id.map(UserId::uuid), new.due_on.map(Date::naive));
    let params: [Param<'_>; 9] = [
        &id.uuid(),
        &project.uuid(),
        &title,
        &description,
        &new.status,
        &new.priority,
        &assignee,
        &due,
        &created_by.uuid(),
    ];
    Versioned::written(txn.row(INSERT, &params).await.map_err(refused)?)
}

/// Changes a task, if it still is what `expected` says.
///
/// # Errors
/// `not_found` (404); `precondition_failed` (412); `unknown_user` (422) on `assignee_id`.
pub(super) async fn update(
    conn: &mut TenantConn,
    id: TaskId,
    patch: TaskPatch,
    expected: Option<&IfMatch>,
) -> Result<Versioned<Task>> {
    let txn = conn.begin().await?;
    let mut task = lock_in_txn(&txn, id, expected).await?.item;
    patch.apply(&mut task);
    let (title, description) = (task.title.as_str(), task.description.as_str());
    let (assignee, due) = (task.assignee_id.map(UserId::uuid), task.due_on.map(Date::naive));
    let params: [Param<'_>; 7] = [&id.uuid(), &title, &description, &task.status, &task.priority, &assignee, &due];
    let updated = Versioned::written(txn.row(UPDATE, &params).await.map_err(refused)?)?;
    txn.commit().await?;
    Ok(updated)
}

/// Deletes a task, if it still is what `expected` says.
///
/// # Errors
/// `not_found` (404); `precondition_failed` (412).
pub(super) async fn delete(conn: &mut TenantConn, id: TaskId, expected: Option<&IfMatch>) -> Result<()> {
    let txn = conn.begin().await?;
    lock_in_txn(&txn, id, expected).await?;
    if txn.run(DELETE, &[&id.uuid()]).await? != 1 {
        return Err(Error::defect("a locked task is gone"));
    }
    txn.commit().await
}

/// The task with this id, which nobody else changes or deletes until the transaction ends.
async fn lock_in_txn(txn: &TenantTxn<'_>, id: TaskId, expected: Option<&IfMatch>) -> Result<Versioned<Task>> {
    Versioned::found(txn.row(LOCK, &[&id.uuid()]).await?)?.matching(expected)
}

/// A reference that leads nowhere is the client's mistake.
fn refused(error: StatementError) -> Error {
    match constraint(&error) {
        Some("tasks_assignee_id_fkey") => {
            FieldError::new("assignee_id", "unknown_user", "there is no such user").into()
        }
        _ => error.into(),
    }
}
