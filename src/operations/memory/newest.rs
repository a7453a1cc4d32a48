//! The newest published migration set. Sets only ever grow, so that its version tells whether it is still the newest.

use crate::migrations::MigrationSet;

/// The newest published set, with the name of its template.
#[derive(Debug)]
pub struct Newest {
    pub(in crate::operations) set: MigrationSet,
    pub(in crate::operations) template: String,
}

impl Newest {
    pub(in crate::operations) fn new(set: MigrationSet) -> Self {
        Self { template: set.template_name(), set }
    }
}
