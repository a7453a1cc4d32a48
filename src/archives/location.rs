//! What has to be known to reach a store; configuration reads it.

use std::{fmt, path::PathBuf};

use secrecy::SecretString;

/// Where archives are kept.
#[derive(Clone, Debug)]
pub enum Location {
    /// A folder of this machine, or one that all replicas mount.
    Folder(PathBuf),
    /// A bucket of S3 or of something that speaks its protocol.
    Bucket(Bucket),
}

/// As the setting spells it; shows no key.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Bucket(bucket) => write!(f, "s3://{}/{}", bucket.name, bucket.prefix),
        }
    }
}

/// A bucket, and who asks for its objects.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What the names of all objects begin with; may be empty.
    pub prefix: String,
    /// `https://host`, where it is not Amazon's own. With `http://` archives travel in the open, encrypted as they are.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The access key's public half.
    pub access_key_id: String,
    /// Its secret half.
    pub secret_access_key: SecretString,
}
