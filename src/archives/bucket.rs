//! The client of an S3 bucket. It takes its credentials from the configuration alone, never from the environment or
//! from the machine that it runs on.

use std::time::Duration;

use object_store::{
    ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, Checksum},
};
use secrecy::ExposeSecret;

use super::Bucket;
use crate::error::{Error, Result};

const CONNECT: Duration = Duration::from_secs(5);
/// Silence within an answer; the whole of one may take hours.
const SILENCE: Duration = Duration::from_secs(20);
/// A part that fails is sent again this often and long, within the store's own bounds.
const RETRIES: usize = 3;
const RETRY: Duration = Duration::from_secs(20);

/// Makes the client; connects nowhere.
pub(super) fn client(bucket: &Bucket) -> Result<impl ObjectStore> {
    let plaintext = bucket.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let options = ClientOptions::new()
        .with_allow_http(plaintext)
        .with_connect_timeout(CONNECT)
        .with_timeout_disabled()
        .with_read_timeout(SILENCE);
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY, ..RetryConfig::default() };
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(&bucket.region)
        .with_access_key_id(&bucket.access_key_id)
        .with_secret_access_key(bucket.secret_access_key.expose_secret())
        .with_checksum_algorithm(Checksum::SHA256)
        .with_client_options(options)
        .with_retry(retry);
    let builder = match &bucket.endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    };
    builder.build().map_err(Error::internal)
}
