//! What a newcomer finds in the demo tenants of `freehold dev`: some projects with their tasks.

use serde_json::json;

use crate::{
    app::{Answer, DemoTenant},
    error::{Error, Result},
};

/// Projects, and the tasks in each.
const PROJECTS: [(&str, &[&str]); 2] = [
    ("Website relaunch", &["Write the copy", "Choose the pictures", "Switch the domain over"]),
    ("Quarterly report", &["Collect the figures", "Draft the summary"]),
];

/// Fills a demo tenant.
pub(super) fn seed(tenant: DemoTenant) -> Answer<()> {
    Box::pin(async move { fill(&tenant).await })
}

async fn fill(tenant: &DemoTenant) -> Result<()> {
    for (name, tasks) in PROJECTS {
        let project = tenant.create("/v1/projects", json!({ "name": name })).await?;
        let id = project["id"].as_str().ok_or_else(|| Error::defect("a project without an id"))?;
        for title in tasks {
            tenant.create(format!("/v1/projects/{id}/tasks"), json!({ "title": title })).await?;
        }
    }
    Ok(())
}
