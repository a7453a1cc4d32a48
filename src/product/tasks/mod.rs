//! Tasks: what is to be done in a project, by whom and until when.

mod routes;
mod store;

use chrono::{DateTime, Utc};
pub(super) use routes::routes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{choice::choice, date::Date, projects::ProjectId, text::Description};
use crate::{
    http::extract::Change,
    types::{DisplayName, Search, UserId, permissions, typed_id},
};

typed_id!(
    /// A task.
    pub(super) TaskId = "tsk"
);

permissions! {
    pub(super) const PERMISSIONS: Tenant;

    /// See tasks.
    TasksRead = "tasks:read" for [Admin, Member, Viewer];
    /// Make, change and delete tasks.
    TasksWrite = "tasks:write" for [Admin, Member];
}

choice! {
    /// How far a task is.
    #[derive(Default)]
    TaskStatus {
        /// Nobody has begun.
        #[default]
        Open = "open",
        /// Somebody works on it.
        InProgress = "in_progress",
        /// It is done.
        Done = "done",
    }
}

choice! {
    /// How much a task matters.
    #[derive(Default)]
    TaskPriority {
        /// When there is time.
        Low = "low",
        /// In its turn.
        #[default]
        Normal = "normal",
        /// Before others.
        High = "high",
        /// Now.
        Urgent = "urgent",
    }
}

/// A task.
#[derive(Debug, Serialize, ToSchema)]
struct Task {
    id: TaskId,
    project_id: ProjectId,
    title: DisplayName,
    description: Description,
    status: TaskStatus,
    priority: TaskPriority,
    /// Who shall do it.
    assignee_id: Option<UserId>,
    /// The day on which it shall be done.
    due_on: Option<Date>,
    /// Who made it; null when that user is gone.
    created_by: Option<UserId>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A task to be made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTask {
    title: DisplayName,
    #[serde(default)]
    description: Description,
    #[serde(default)]
    status: TaskStatus,
    #[serde(default)]
    priority: TaskPriority,
    assignee_id: Option<UserId>,
    due_on: Option<Date>,
}

/// What shall change about a task; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TaskPatch {
    #[schema(value_type = DisplayName, required = false)]
    #[serde(default)]
    title: Change<DisplayName>,
    #[schema(value_type = Description, required = false)]
    #[serde(default)]
    description: Change<Description>,
    #[schema(value_type = TaskStatus, required = false)]
    #[serde(default)]
    status: Change<TaskStatus>,
    #[schema(value_type = TaskPriority, required = false)]
    #[serde(default)]
    priority: Change<TaskPriority>,
    /// Null: nobody.
    #[schema(value_type = Option<UserId>)]
    #[serde(default)]
    assignee_id: Change<Option<UserId>>,
    /// Null: no day.
    #[schema(value_type = Option<Date>)]
    #[serde(default)]
    due_on: Change<Option<Date>>,
}

impl TaskPatch {
    fn apply(self, task: &mut Task) {
        self.title.apply(&mut task.title);
        self.description.apply(&mut task.description);
        self.status.apply(&mut task.status);
        self.priority.apply(&mut task.priority);
        self.assignee_id.apply(&mut task.assignee_id);
        self.due_on.apply(&mut task.due_on);
    }
}

/// Which tasks are listed, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TaskFilter {
    /// The order; a hyphen turns it around.
    #[serde(default)]
    #[param(inline, required = false)]
    sort: TaskSort,
    /// Part of the title or description, in any case.
    #[param(inline)]
    q: Option<Search>,
    /// Only those with this status.
    status: Option<TaskStatus>,
    /// Only those with this priority.
    priority: Option<TaskPriority>,
    /// Only those of this project. Refused below a project's path, which says it already.
    project_id: Option<ProjectId>,
    /// Only those of this assignee.
    assignee_id: Option<UserId>,
    /// Only those due before this day.
    due_before: Option<Date>,
}

/// The orders of a list of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
enum TaskSort {
    #[serde(rename = "created_at")]
    OldestFirst,
    #[default]
    #[serde(rename = "-created_at")]
    NewestFirst,
    #[serde(rename = "title")]
    TitleAscending,
    #[serde(rename = "-title")]
    TitleDescending,
    #[serde(rename = "updated_at")]
    LongestUnchanged,
    #[serde(rename = "-updated_at")]
    LatestChanged,
}
