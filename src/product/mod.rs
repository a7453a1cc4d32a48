//! The example product, projects and their tasks: the pattern that a SaaS team copies and then replaces.
//!
//! A resource is a folder: `mod.rs` holds its values, `store.rs` its SQL and rules, `routes.rs` its handlers. What
//! the resources share stands beside them: [`stored`] (rows and their versions), [`listing`] (pages in every order),
//! [`sql`] (statements that share a part), [`answer`] (entity tags, 201), [`choice`] (enumerations), [`text`] and
//! [`date`]. CONTRIBUTING.md has the checklists "Add a tenant table" and "Add an endpoint".
//!
//! A handler takes a connection late, calls one function of the store, and maps the result. Nothing here knows
//! another tenant or the control database: the connection is the predicate. Never put a value into SQL text.

mod answer;
mod choice;
mod date;
mod listing;
mod projects;
mod sql;
mod stored;
mod tasks;
mod text;

use utoipa_axum::router::OpenApiRouter;

use crate::http::AppState;

/// All routes of the product, for `http::router::public`.
#[must_use]
pub fn routes() -> OpenApiRouter<AppState> {
    projects::routes().merge(tasks::routes())
}
