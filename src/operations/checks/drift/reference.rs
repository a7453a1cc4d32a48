//! The references of one server's tenants: the recorded schemas of its templates.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::Mutex;

use super::look::Reference;
use crate::{
    control::{servers::Server, templates},
    error::{Error, Result},
    operations::{
        Context,
        schema::{publish, template},
    },
    servers::ServerVersion,
    types::SchemaVersions,
};

/// The references that one piece of a round needs. Each is read once.
pub(super) struct References<'a> {
    ctx: &'a Context,
    server: &'a Server,
    known: Mutex<HashMap<SchemaVersions, Arc<Reference>>>,
}

impl<'a> References<'a> {
    pub(super) fn new(ctx: &'a Context, server: &'a Server) -> Self {
        Self { ctx, server, known: Mutex::default() }
    }

    /// What a tenant of these versions should look like on the server. Builds the template of the versions there, if no
    /// server of the major release has recorded it yet.
    pub(super) async fn of(&self, versions: SchemaVersions) -> Result<Arc<Reference>> {
        // Held while a template is built: the others wait for the same one.
        let mut known = self.known.lock().await;
        if let Some(reference) = known.get(&versions) {
            return Ok(Arc::clone(reference));
        }
        let schema = publish::current(&self.ctx.db).await?.up_to(versions);
        let name = schema.template_name();
        let mut recorded = self.recorded(&name).await?;
        if recorded.is_none() {
            let (access, admin) = self.ctx.administer(self.server, "drift").await?;
            template::ensure(self.ctx, &admin, &access.address, &access.credentials, &schema).await?;
            recorded = self.recorded(&name).await?;
        }
        let unknown = || Error::defect(format!("the schema of the template {name} is not recorded"));
        let reference = Arc::new(recorded.ok_or_else(unknown)?);
        known.insert(versions, Arc::clone(&reference));
        Ok(reference)
    }

    async fn recorded(&self, name: &str) -> Result<Option<Reference>> {
        let major = ServerVersion(self.server.version_num).major();
        let recorded = templates::schema(&mut *self.ctx.db.acquire().await?, name, major).await?;
        let reference = |(fingerprint, objects): (_, Option<_>)| {
            let schema = objects.map(serde_json::from_value).transpose().map_err(Error::internal)?;
            Ok(Reference { fingerprint, schema })
        };
        recorded.map(reference).transpose()
    }
}
