//! The newest published migration sets. Sets only ever grow, so that their versions tell whether they are still the newest.

use crate::migrations::TenantSchema;

/// The newest published sets of both streams, with the name of their template.
#[derive(Debug)]
pub struct Newest {
    pub(in crate::operations) schema: TenantSchema,
    pub(in crate::operations) template: String,
}

impl Newest {
    pub(in crate::operations) fn new(schema: TenantSchema) -> Self {
        Self { template: schema.template_name(), schema }
    }

    /// Both sets.
    pub(crate) const fn schema(&self) -> &TenantSchema {
        &self.schema
    }
}
