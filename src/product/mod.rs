//! The example product, projects and their tasks: the pattern that a SaaS team copies, and what the program `freehold`
//! runs.
//!
//! [`product()`] is all that Freehold knows of it. A resource is a folder: `mod.rs` holds its values, its kind of id and
//! its permissions, `store.rs` its SQL and rules, `routes.rs` its handlers. What
//! the resources share stands beside them: [`stored`] (rows and their versions), [`listing`] (pages in every order),
//! [`sql`] (statements that share a part), [`answer`] (entity tags, 201), [`choice`] (enumerations), [`text`] and
//! [`date`]. CONTRIBUTING.md has the checklists "Add a tenant table" and "Add an endpoint".
//!
//! A handler takes a connection late, calls one function of the store, and maps the result. Nothing here knows
//! another tenant or the control database: the connection is the predicate. Never put a value into SQL text.
//! Nothing here uses more of Freehold than a crate of its own could.

mod answer;
mod choice;
mod date;
mod demo;
mod listing;
mod projects;
mod sql;
mod stored;
mod tasks;
mod text;

use crate::{app::Product, migrations};

/// The product.
#[must_use]
pub fn product() -> Product {
    Product {
        name: "Freehold",
        version: env!("CARGO_PKG_VERSION"),
        routes: projects::routes().merge(tasks::routes()),
        permissions: [projects::PERMISSIONS, tasks::PERMISSIONS].concat(),
        id_prefixes: vec![projects::ProjectId::PREFIX, tasks::TaskId::PREFIX],
        oldest_version: 1,
        left_behind: Vec::new(),
        migrations: migrations!("tenant-migrations/product": "V1__projects_and_tasks.sql"),
        seed: Some(demo::seed),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_migration_of_the_folder_is_listed_and_the_product_is_fit() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tenant-migrations/product");
        let mut files: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let mut listed: Vec<_> = product().migrations.iter().map(|(name, _)| (*name).to_owned()).collect();
        listed.sort();
        assert_eq!(files, listed);
        assert!(product().check().is_ok());
    }
}
