//! What a dev environment remembers from run to run: keys, passwords, and how far seeding came.
//!
//! `state.json`, readable by its owner only, and always written before what it speaks of is done: a run that was
//! killed is taken up with the same passwords and the same idempotency keys. It has no `Debug`: it is all secrets.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{credentials::write_private, demo::DEMO_TENANTS};
use crate::types::Random;

const FILE_NAME: &str = "state.json";
/// Characters of a generated password: 120 bits, and short enough to be typed.
const PASSWORD_CHARS: usize = 20;

/// What a dev environment remembers.
#[derive(Deserialize, Serialize)]
pub(super) struct Memory {
    /// As `FREEHOLD_KEY_ENCRYPTION_KEYS` wants them.
    pub(super) key_encryption_keys: String,
    /// Begins every idempotency key of this environment.
    pub(super) nonce: String,
    /// The first operator.
    pub(super) operator: Operator,
    /// The demo tenants by slug.
    pub(super) tenants: BTreeMap<String, Tenant>,
    #[serde(skip)]
    path: PathBuf,
}

/// The first operator.
#[derive(Deserialize, Serialize)]
pub(super) struct Operator {
    /// For signing in.
    pub(super) password: String,
    /// Known once bootstrap has succeeded.
    pub(super) api_key: Option<String>,
    /// What it will be, from before it is valid.
    #[serde(default)]
    pub(super) coming_key: Option<String>,
}

/// A demo tenant.
#[derive(Deserialize, Serialize)]
pub(super) struct Tenant {
    /// Its administrator's, for signing in.
    pub(super) admin_password: String,
    /// Known once it serves.
    pub(super) id: Option<String>,
    /// Whether its demo data has been made. What a person deletes later stays deleted.
    pub(super) has_data: bool,
}

impl Memory {
    /// What an earlier run left in `folder`, or fresh secrets.
    pub(super) fn load_or_make(folder: &Path, random: Random) -> anyhow::Result<Self> {
        let path = folder.join(FILE_NAME);
        if !path.exists() {
            let memory = Self::make(path, random);
            memory.save()?;
            return Ok(memory);
        }
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let memory: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged: start again with --reset", path.display()))?;
        Ok(Self { path, ..memory })
    }

    /// Writes it; whole or not at all.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        write_private(&self.path, &serde_json::to_vec_pretty(self)?)
    }

    fn make(path: PathBuf, random: Random) -> Self {
        let password = || random.token().chars().take(PASSWORD_CHARS).collect::<String>();
        let tenant = || Tenant { admin_password: password(), id: None, has_data: false };
        Self {
            key_encryption_keys: format!("k1:{}", BASE64_STANDARD.encode(random.bytes::<32>())),
            nonce: random.token(),
            operator: Operator { password: password(), api_key: None, coming_key: None },
            tenants: DEMO_TENANTS.iter().map(|demo| (demo.slug.to_owned(), tenant())).collect(),
            path,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_run_knows_what_the_first_one_made() {
        let folder = std::env::temp_dir().join(format!("freehold-memory-{}", Random.token()));
        fs::create_dir(&folder).unwrap();
        let mut first = Memory::load_or_make(&folder, Random).unwrap();
        first.operator.api_key = Some("key".to_owned());
        first.save().unwrap();
        let second = Memory::load_or_make(&folder, Random).unwrap();
        assert_eq!(serde_json::to_value(&second).unwrap(), serde_json::to_value(&first).unwrap());
        assert!(second.operator.password.len() >= 15);
        assert!(crate::config::parse_keys(&second.key_encryption_keys).is_ok());
        assert_eq!(fs::metadata(folder.join(FILE_NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(&folder).unwrap();
    }
}
