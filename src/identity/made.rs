//! What a request that creates something is answered with.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// The answer for a new resource. It is kept with the `Idempotency-Key`, so that a repeated request gets it again, all
/// but the secret: that is in the first answer alone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Made {
    /// Its id.
    pub id: String,
    /// Its version, if it has one.
    pub version: Option<i64>,
    /// The resource, as JSON.
    pub body: Value,
    /// The secret that comes with it. Never stored.
    #[serde(skip)]
    pub secret: Option<SecretString>,
}

impl Made {
    pub(super) fn new(id: String, version: Option<i64>, resource: &impl Serialize) -> Result<Self> {
        Ok(Self { id, version, body: serde_json::to_value(resource).map_err(Error::internal)?, secret: None })
    }

    /// The same with the secret, if it was made just now, under this id, and not by an earlier request.
    pub(super) fn with_secret(self, id: &str, secret: SecretString) -> Self {
        if self.id == id { Self { secret: Some(secret), ..self } } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_the_first_answer_alone() {
        let made = Made::new("key_1".to_owned(), None, &serde_json::json!({ "name": "ci" })).unwrap();
        let first = made.with_secret("key_1", "marker".into());
        let kept = serde_json::to_string(&first).unwrap();
        assert!(first.secret.is_some() && !kept.contains("marker"));
        let again: Made = serde_json::from_str(&kept).unwrap();
        assert!(again.with_secret("key_2", "another".into()).secret.is_none());
    }
}
