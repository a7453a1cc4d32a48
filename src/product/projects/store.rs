//! Table `projects`.

use tokio_postgres::Row;
use uuid::Uuid;

use super::{NewProject, Project, ProjectFilter, ProjectId, ProjectPatch, ProjectSort, ProjectStatus};
use crate::{
    error::{Error, Result},
    http::extract::{IfMatch, Listing, Page},
    product::{
        listing::{self, Column, Order, order},
        sql::sql,
        stored::{Stored, Versioned},
    },
    tenancy::{Statements, TenantConn, TenantTxn},
    types::{Search, UserId},
};

const COLUMNS: &str = "id, name, description, status, created_by, version, created_at, updated_at";

/// What a client lists and counts. `$1`: the status; `$2`: what to find in the name or the description. Null: any.
const MATCHING: &str = " FROM projects
     WHERE ($1::text IS NULL OR status = $1)
       AND ($2::text IS NULL OR name ILIKE $2 OR description ILIKE $2)";

const COUNT: &str = sql!["SELECT count(*)", MATCHING];

const LIST: &str = sql!["SELECT ", COLUMNS, MATCHING];

const GET: &str = sql!["SELECT ", COLUMNS, " FROM projects WHERE id = $1"];

const LOCK: &str = sql!["SELECT ", COLUMNS, " FROM projects WHERE id = $1 FOR UPDATE"];

/// Others may lock it likewise, so tasks of one project are added side by side.
const SHARE: &str = sql!["SELECT ", COLUMNS, " FROM projects WHERE id = $1 FOR SHARE"];

const INSERT: &str =
    sql!["INSERT INTO projects (id, name, description, created_by) VALUES ($1, $2, $3, $4) RETURNING ", COLUMNS];

const UPDATE: &str = sql![
    "UPDATE projects SET name = $2, description = $3, status = $4, version = version + 1, updated_at = now()
     WHERE id = $1 RETURNING ",
    COLUMNS
];

const DELETE: &str = "DELETE FROM projects WHERE id = $1";

impl Stored for Project {
    const NAME: &'static str = "project";

    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: ProjectId::from_uuid(row.try_get("id")?),
            name: row.try_get::<_, &str>("name")?.parse().map_err(Error::internal)?,
            description: row.try_get::<_, &str>("description")?.parse().map_err(Error::internal)?,
            status: row.try_get("status")?,
            created_by: row.try_get::<_, Option<Uuid>>("created_by")?.map(UserId::from_uuid),
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    }

    fn id(&self) -> Uuid {
        self.id.uuid()
    }
}

impl ProjectSort {
    const fn order(self) -> Order<Project> {
        const BY_CREATION: Column<Project> = Column::Time(|project| project.created_at);
        const BY_NAME: Column<Project> = Column::Text(|project| project.name.as_str());
        const BY_CHANGE: Column<Project> = Column::Time(|project| project.updated_at);
        match self {
            Self::OldestFirst => order!(LIST, "created_at" ascending, limit "$3", after "$4, $5", BY_CREATION),
            Self::NewestFirst => order!(LIST, "created_at" descending, limit "$3", after "$4, $5", BY_CREATION),
            Self::NameAscending => order!(LIST, "name" ascending, limit "$3", after "$4, $5", BY_NAME),
            Self::NameDescending => order!(LIST, "name" descending, limit "$3", after "$4, $5", BY_NAME),
            Self::LongestUnchanged => order!(LIST, "updated_at" ascending, limit "$3", after "$4, $5", BY_CHANGE),
            Self::LatestChanged => order!(LIST, "updated_at" descending, limit "$3", after "$4, $5", BY_CHANGE),
        }
    }
}

/// One page of the projects that match.
pub(super) async fn list(conn: &TenantConn, filter: &ProjectFilter, page: &Page) -> Result<Listing<Project>> {
    let q = filter.q.as_ref().map(Search::pattern);
    let order = (filter.sort, &filter.sort.order());
    listing::page(conn, COUNT, order, &[&filter.status, &q], page).await
}

/// The project with this id.
pub(in crate::product) async fn get(conn: &TenantConn, id: ProjectId) -> Result<Versioned<Project>> {
    Versioned::found(conn.row(GET, &[&id.uuid()]).await?)
}

/// Makes a project.
pub(super) async fn insert_in_txn(
    txn: &TenantTxn<'_>,
    id: ProjectId,
    new: &NewProject,
    created_by: UserId,
) -> Result<Versioned<Project>> {
    let (name, description) = (new.name.as_str(), new.description.as_str());
    Versioned::written(txn.row(INSERT, &[&id.uuid(), &name, &description, &created_by.uuid()]).await?)
}

/// Changes a project, if it still is what `expected` says.
pub(super) async fn update(
    conn: &mut TenantConn,
    id: ProjectId,
    patch: ProjectPatch,
    expected: Option<&IfMatch>,
) -> Result<Versioned<Project>> {
    let txn = conn.begin().await?;
    let mut project = lock_in_txn(&txn, id, expected).await?.item;
    patch.apply(&mut project);
    let (name, description) = (project.name.as_str(), project.description.as_str());
    let updated = Versioned::written(txn.row(UPDATE, &[&id.uuid(), &name, &description, &project.status]).await?)?;
    txn.commit().await?;
    Ok(updated)
}

/// Deletes a project with its tasks, if it still is what `expected` says.
pub(super) async fn delete(conn: &mut TenantConn, id: ProjectId, expected: Option<&IfMatch>) -> Result<()> {
    let txn = conn.begin().await?;
    lock_in_txn(&txn, id, expected).await?;
    if txn.run(DELETE, &[&id.uuid()]).await? != 1 {
        return Err(Error::defect("a locked project is gone"));
    }
    txn.commit().await
}

/// The project with this id, which nobody else changes or deletes until the transaction ends.
async fn lock_in_txn(txn: &TenantTxn<'_>, id: ProjectId, expected: Option<&IfMatch>) -> Result<Versioned<Project>> {
    Versioned::found(txn.row(LOCK, &[&id.uuid()]).await?)?.matching(expected)
}

/// Makes sure that a project takes new tasks, and goes on doing so until the transaction ends.
///
/// # Errors
/// `not_found` (404); `project_archived` (409).
pub(in crate::product) async fn require_active_in_txn(txn: &TenantTxn<'_>, id: ProjectId) -> Result<()> {
    let project: Versioned<Project> = Versioned::found(txn.row(SHARE, &[&id.uuid()]).await?)?;
    match project.item.status {
        ProjectStatus::Active => Ok(()),
        ProjectStatus::Archived => Err(Error::conflict("project_archived", "an archived project takes no new tasks")),
    }
}
