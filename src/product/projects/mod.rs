//! Projects: what tasks belong to. An archived project is kept and takes no new tasks.

mod routes;
pub(super) mod store;

use chrono::{DateTime, Utc};
pub(super) use routes::routes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{choice::choice, text::Description};
use crate::{
    http::extract::Change,
    types::{DisplayName, Search, UserId, permissions, typed_id},
};

typed_id!(
    /// A project.
    pub(super) ProjectId = "prj"
);

permissions! {
    pub(super) const PERMISSIONS: Tenant;

    /// See projects.
    ProjectsRead = "projects:read" for [Admin, Member, Viewer];
    /// Make, change and delete projects.
    ProjectsWrite = "projects:write" for [Admin, Member];
}

choice! {
    /// Whether a project takes new tasks.
    ProjectStatus {
        /// It does.
        Active = "active",
        /// It is kept for reading.
        Archived = "archived",
    }
}

/// A project.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Project {
    id: ProjectId,
    name: DisplayName,
    description: Description,
    status: ProjectStatus,
    /// Who made it; null when that user is gone.
    created_by: Option<UserId>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A project to be made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewProject {
    name: DisplayName,
    #[serde(default)]
    description: Description,
}

/// What shall change about a project; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProjectPatch {
    #[schema(value_type = DisplayName, required = false)]
    #[serde(default)]
    name: Change<DisplayName>,
    #[schema(value_type = Description, required = false)]
    #[serde(default)]
    description: Change<Description>,
    #[schema(value_type = ProjectStatus, required = false)]
    #[serde(default)]
    status: Change<ProjectStatus>,
}

impl ProjectPatch {
    fn apply(self, project: &mut Project) {
        self.name.apply(&mut project.name);
        self.description.apply(&mut project.description);
        self.status.apply(&mut project.status);
    }
}

/// Which projects are listed, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ProjectFilter {
    /// The order; a hyphen turns it around.
    #[serde(default)]
    #[param(inline, required = false)]
    sort: ProjectSort,
    /// Part of the name or description, in any case.
    #[param(inline)]
    q: Option<Search>,
    /// Only those with this status.
    status: Option<ProjectStatus>,
}

/// The orders of a list of projects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
enum ProjectSort {
    #[serde(rename = "created_at")]
    OldestFirst,
    #[default]
    #[serde(rename = "-created_at")]
    NewestFirst,
    #[serde(rename = "name")]
    NameAscending,
    #[serde(rename = "-name")]
    NameDescending,
    #[serde(rename = "updated_at")]
    LongestUnchanged,
    #[serde(rename = "-updated_at")]
    LatestChanged,
}
