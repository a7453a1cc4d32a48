//! Where archives are kept, and with which programs they are made.

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use super::{Environment, source::Reader};
use crate::{
    archives::{Bucket, Location},
    types::Invalid,
};

/// Where archives are kept, and with which programs they are made.
#[derive(Debug)]
pub struct ArchivesConfig {
    /// The store. Without one, operations that need it answer `archives_not_configured`.
    pub store: Option<Location>,
    /// The folder with `pg_dump` and `pg_restore`, where they are not to be looked for.
    pub postgres_bin: Option<PathBuf>,
}

impl ArchivesConfig {
    pub(super) fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
        let place = reader.optional("archive_url", parse_url);
        let access = Access::read(reader, environment);
        let store = match place {
            Some(Place::Folder(folder)) => Some(Location::Folder(folder)),
            Some(Place::Bucket { name, prefix }) => access.bucket(reader, name, prefix).map(Location::Bucket),
            None => None,
        };
        let postgres_bin = reader.optional("postgres_bin", |text| {
            let folder = PathBuf::from(text);
            if folder.is_dir() { Ok(folder) } else { Err(Invalid::new("invalid", "must be a folder")) }
        });
        Self { store, postgres_bin }
    }
}

/// What `FREEHOLD_ARCHIVE_URL` names.
enum Place {
    Folder(PathBuf),
    Bucket { name: String, prefix: String },
}

/// Who asks a bucket for its objects, and where.
struct Access {
    endpoint: Option<String>,
    region: String,
    key_id: Option<String>,
    secret: Option<SecretString>,
}

impl Access {
    fn read(reader: &mut Reader<'_>, environment: Environment) -> Self {
        Self {
            endpoint: reader.optional("archive_endpoint", |text| parse_endpoint(text, environment)),
            region: reader.parsed("archive_region", "us-east-1".to_owned(), |text| Ok(text.to_owned())),
            key_id: reader.optional("archive_access_key_id", |text| Ok(text.to_owned())),
            secret: reader.optional_secret("archive_secret_access_key", |_| Ok(())),
        }
    }

    /// The bucket, if nothing is missing.
    fn bucket(self, reader: &mut Reader<'_>, name: String, prefix: String) -> Option<Bucket> {
        if self.key_id.is_none() {
            reader.problem("archive_access_key_id", "is required for a bucket");
        }
        if self.secret.is_none() {
            reader.problem("archive_secret_access_key", "is required for a bucket");
        }
        Some(Bucket {
            name,
            prefix,
            endpoint: self.endpoint,
            region: self.region,
            access_key_id: self.key_id?,
            secret_access_key: self.secret?,
        })
    }
}

fn parse_url(text: &str) -> Result<Place, Invalid> {
    let invalid =
        || Invalid::new("invalid", "must be a folder's path, file:///folder or s3://bucket or s3://bucket/prefix");
    if !text.contains("://") {
        return Ok(Place::Folder(PathBuf::from(text)));
    }
    let url = Url::parse(text).map_err(|_| invalid())?;
    let bare = url.username().is_empty() && url.password().is_none() && url.port().is_none();
    if !bare || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid());
    }
    match (url.scheme(), url.host_str()) {
        ("file", _) => url.to_file_path().map(Place::Folder).map_err(|()| invalid()),
        ("s3", Some(name)) => {
            Ok(Place::Bucket { name: name.to_owned(), prefix: url.path().trim_matches('/').to_owned() })
        }
        _ => Err(invalid()),
    }
}

fn parse_endpoint(text: &str, environment: Environment) -> Result<String, Invalid> {
    let url = Url::parse(text).ok().filter(Url::has_host);
    match url.as_ref().map(Url::scheme) {
        Some("https") => Ok(text.to_owned()),
        Some("http") if environment == Environment::Development => Ok(text.to_owned()),
        Some("http") => Err(Invalid::new("plaintext_refused", "must begin with https:// in production")),
        _ => Err(Invalid::new("invalid", "must begin with https://")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(environment: Environment, pairs: &[(&str, &str)]) -> Result<ArchivesConfig, Vec<String>> {
        let pairs: BTreeMap<_, _> =
            pairs.iter().map(|(name, value)| (format!("FREEHOLD_{name}"), (*value).to_owned())).collect();
        let mut reader = Reader::new(&pairs, None).unwrap();
        let config = ArchivesConfig::read(&mut reader, environment);
        let keys = |error: super::super::ConfigError| error.0.into_iter().map(|problem| problem.key).collect();
        reader.finish().map(|()| config).map_err(keys)
    }

    #[test]
    fn a_folder_is_a_path_or_a_url() {
        for (text, path) in [("./objects", "./objects"), ("/var/a b", "/var/a b"), ("file:///var/a%20b/", "/var/a b/")]
        {
            let config = read(Environment::Production, &[("ARCHIVE_URL", text)]).unwrap();
            assert!(
                matches!(config.store, Some(Location::Folder(folder)) if folder == std::path::Path::new(path)),
                "{text}"
            );
        }
        assert!(read(Environment::Production, &[]).unwrap().store.is_none());
    }

    #[test]
    fn a_bucket_needs_its_key_and_in_production_tls() {
        let bucket = [
            ("ARCHIVE_URL", "s3://archives/freehold/eu/"),
            ("ARCHIVE_ACCESS_KEY_ID", "id"),
            ("ARCHIVE_SECRET_ACCESS_KEY", "secret"),
            ("ARCHIVE_ENDPOINT", "http://127.0.0.1:9000"),
        ];
        let config = read(Environment::Development, &bucket).unwrap();
        assert!(!format!("{config:?}").contains("\"secret\""));
        let Some(Location::Bucket(found)) = config.store else { panic!("no bucket") };
        assert_eq!((found.name.as_str(), found.prefix.as_str()), ("archives", "freehold/eu"));
        assert_eq!(read(Environment::Production, &bucket).unwrap_err(), ["FREEHOLD_ARCHIVE_ENDPOINT"]);
        let missing = read(Environment::Development, &bucket[..1]).unwrap_err();
        assert_eq!(missing, ["FREEHOLD_ARCHIVE_ACCESS_KEY_ID", "FREEHOLD_ARCHIVE_SECRET_ACCESS_KEY"]);
    }

    #[test]
    fn what_is_unclear_is_refused() {
        for url in ["ftp://a/b", "s3://", "s3://key:secret@bucket", "s3://bucket?region=x", "file://elsewhere/a#b"] {
            assert_eq!(
                read(Environment::Development, &[("ARCHIVE_URL", url)]).unwrap_err(),
                ["FREEHOLD_ARCHIVE_URL"],
                "{url}"
            );
        }
        for (name, value) in [("ARCHIVE_ENDPOINT", "127.0.0.1:9000"), ("POSTGRES_BIN", "/nowhere/bin")] {
            assert_eq!(read(Environment::Development, &[(name, value)]).unwrap_err(), [format!("FREEHOLD_{name}")]);
        }
    }
}
