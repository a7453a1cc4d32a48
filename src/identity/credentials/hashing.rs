//! Password hashing: argon2id behind a bound.
//!
//! A hash takes a core for some 50 ms and 19 MiB, so only so many run at once and the rest wait, for a bounded
//! time. The permit belongs to the blocking task, not to the request: a client that hangs up frees nothing early.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash,
    password_hash::phc::PasswordHash,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    error::{Error, Result},
    types::Random,
};

/// 19 MiB, two passes, one lane: the second of the equivalent settings in OWASP's password storage cheat sheet.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// What a password is compared with when there is nothing to compare it with: the same work, and random bytes
/// that no password is known to produce.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$XQC9xbNCwgao/vbV3IxEWQ$3/U+iSOfivwDs5xAkRP4wNZ7Y3uKDW7fk9p2tpxXkVY";

/// How long a request waits for its turn (promises.md §2).
pub(in crate::identity) const REQUEST: Duration = Duration::from_secs(1);
/// How long background work waits for its turn.
pub(in crate::identity) const BACKGROUND: Duration = Duration::from_secs(30);

/// Hashes and verifies passwords, so many at once.
pub(in crate::identity) struct Hasher {
    permits: Arc<Semaphore>,
    random: Random,
}

impl Hasher {
    pub(in crate::identity) fn new(concurrency: usize, random: Random) -> Self {
        Self { permits: Arc::new(Semaphore::new(concurrency.max(1))), random }
    }

    /// A new PHC string for `password`, with a salt of its own.
    ///
    /// # Errors
    /// `hashing_busy` when no turn came within `wait`.
    pub(in crate::identity) async fn hash(&self, password: &SecretString, wait: Duration) -> Result<String> {
        let (password, salt) = (password.clone(), self.random.bytes::<16>());
        let hash = move || argon2()?.hash_password_with_salt(password.expose_secret().as_bytes(), &salt);
        Ok(self.run(wait, hash).await?.map_err(unusable)?.to_string())
    }

    /// Whether `hash` (a PHC string) is of `password`. Without a hash the answer is no, after the same work.
    ///
    /// # Errors
    /// `hashing_busy` when no turn came within `wait`.
    pub(in crate::identity) async fn verify(
        &self,
        password: &SecretString,
        hash: Option<String>,
        wait: Duration,
    ) -> Result<bool> {
        let (password, is_known) = (password.clone(), hash.is_some());
        let verify = move || {
            let stored = PasswordHash::new(hash.as_deref().unwrap_or(NOBODY))?;
            // The parameters are the stored hash's, so that older ones go on verifying.
            Argon2::default().verify_password(password.expose_secret().as_bytes(), &stored)
        };
        match self.run(wait, verify).await? {
            Ok(()) => Ok(is_known),
            Err(password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(unusable(error)),
        }
    }

    async fn run<T: Send + 'static>(&self, wait: Duration, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = self.permit(wait).await?;
        let metered = move || {
            let started = std::time::Instant::now();
            metrics::gauge!("freehold_password_hashes_running").increment(1.0);
            let outcome = work();
            metrics::gauge!("freehold_password_hashes_running").decrement(1.0);
            metrics::histogram!("freehold_password_hash_duration_seconds").record(started.elapsed());
            drop(permit);
            outcome
        };
        tokio::task::spawn_blocking(metered).await.map_err(Error::internal)
    }

    async fn permit(&self, wait: Duration) -> Result<OwnedSemaphorePermit> {
        let permit = tokio::time::timeout(wait, self.permits.clone().acquire_owned()).await;
        let detail = "too many passwords are being checked; try again shortly";
        permit.map_err(|_| Error::unavailable("hashing_busy", detail, None))?.map_err(Error::internal)
    }
}

fn argon2() -> Result<Argon2<'static>, password_hash::Error> {
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(MEMORY_KIB, PASSES, LANES, None)?))
}

/// The cause goes to the log by its kind alone: it never quotes a hash.
fn unusable(error: password_hash::Error) -> Error {
    Error::defect(format!("a password hash cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_alone() {
        let hasher = Hasher::new(2, Random);
        let hash = hasher.hash(&password("a long enough one"), REQUEST).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(hasher.verify(&password("a long enough one"), Some(hash.clone()), REQUEST).await.unwrap());
        assert!(!hasher.verify(&password("a long enough onE"), Some(hash), REQUEST).await.unwrap());
    }

    #[tokio::test]
    async fn without_a_hash_the_same_work_is_done_and_the_answer_is_no() {
        let prefix = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$");
        assert!(NOBODY.starts_with(&prefix) && PasswordHash::new(NOBODY).is_ok());
        assert!(!Hasher::new(1, Random).verify(&password("whatever it may be"), None, REQUEST).await.unwrap());
    }

    #[tokio::test]
    async fn a_request_that_hangs_up_does_not_free_its_turn() {
        let hasher = Hasher::new(1, Random);
        let (started, is_started) = std::sync::mpsc::channel();
        let (finish, is_finished) = std::sync::mpsc::channel::<()>();
        let work = move || {
            started.send(()).unwrap();
            is_finished.recv().unwrap();
        };
        let hung_up = tokio::time::timeout(Duration::from_millis(50), hasher.run(REQUEST, work)).await;
        assert!(hung_up.is_err() && is_started.recv().is_ok());
        let refused = hasher.run(Duration::from_millis(50), || ()).await;
        assert_eq!(refused.err().map(|error| error.code()), Some("hashing_busy"));
        finish.send(()).unwrap();
        assert!(hasher.run(REQUEST, || ()).await.is_ok());
    }
}
