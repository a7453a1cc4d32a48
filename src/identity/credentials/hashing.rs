//! Password hashing with argon2id, and a limit of concurrent hashes.
//!
//! A hash takes a core for some 50 ms, and 19 MiB of memory. So a limited number run at once, and other requests wait
//! for a limited time. The blocking task owns the semaphore's permit, not the request: when a client disconnects, the
//! permit is freed only after the hash is done.
//!
//! The buffers of 19 MiB are reused: there are as many as permits ([`Memory`]). If each hash allocated its own, the
//! process would use several times as much: once glibc has freed one such block, it takes the next ones from its heap,
//! where longer-lived allocations between them keep the memory from being returned.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version, password_hash,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::foreign::Foreign;
use crate::{
    error::{Error, Result},
    types::Random,
};

/// What new hashes are made with: 19 MiB, two passes, one lane, the second of the equivalent settings in OWASP's password
/// storage cheat sheet. A stored hash names its own. One that names others is replaced when its owner signs in, so that
/// a change of these reaches everybody who does.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The hash that a password is compared with when there is no stored hash, so that the work is the same. Its output is
/// random bytes, so no known password matches it.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$XQC9xbNCwgao/vbV3IxEWQ$3/U+iSOfivwDs5xAkRP4wNZ7Y3uKDW7fk9p2tpxXkVY";

/// How long a request waits for a permit (promises.md §2).
pub(in crate::identity) const REQUEST: Duration = Duration::from_secs(1);
/// How long background work waits for a permit.
pub(in crate::identity) const BACKGROUND: Duration = Duration::from_secs(30);

/// Hashes and verifies passwords, with a limit of how many at once.
pub(in crate::identity) struct Hasher {
    permits: Arc<Semaphore>,
    memory: Arc<Memory>,
    random: Random,
}

/// The buffers of hashes. A task that holds a permit takes one, and returns it zeroed. A buffer is allocated at its
/// first use, and freed with the [`Hasher`].
#[derive(Default)]
struct Memory(Mutex<Vec<Vec<Block>>>);

impl Hasher {
    pub(in crate::identity) fn new(concurrency: usize, random: Random) -> Self {
        Self { permits: Arc::new(Semaphore::new(concurrency.max(1))), memory: Arc::default(), random }
    }

    /// Hashes `password` with a new salt. Returns a PHC string.
    ///
    /// # Errors
    /// `hashing_busy` when there was no permit within `wait`.
    pub(in crate::identity) async fn hash(&self, password: &SecretString, wait: Duration) -> Result<String> {
        let (password, salt, memory) = (password.clone(), self.random.bytes::<16>(), Arc::clone(&self.memory));
        let hash = move || new_hash(&memory, &password, Salt::new(&salt)?);
        Ok(self.run(wait, hash).await?.map_err(unusable)?.to_string())
    }

    /// Whether `hash` is a hash of `password`. Without a hash the answer is no, after the work of a hash of today. One
    /// that another system has made takes as long as that system wanted.
    ///
    /// # Errors
    /// `hashing_busy` when there was no permit within `wait`.
    pub(in crate::identity) async fn verify(
        &self,
        password: &SecretString,
        hash: Option<String>,
        wait: Duration,
    ) -> Result<bool> {
        let (password, is_known, memory) = (password.clone(), hash.is_some(), Arc::clone(&self.memory));
        let verify = move || {
            let hash = hash.as_deref().unwrap_or(NOBODY);
            match Foreign::parse(hash) {
                Some(foreign) if foreign.is_of(&password) => Ok(()),
                Some(_) => Err(password_hash::Error::PasswordInvalid),
                None => is_of(&memory, &password, &PasswordHash::new(hash)?),
            }
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

impl Memory {
    /// The largest buffer that is kept, in blocks. A stored hash with other parameters may need a larger one.
    const KEPT: usize = MEMORY_KIB as usize;

    /// Runs argon2 over a password and a salt.
    fn compute(
        &self,
        argon2: &Argon2<'_>,
        password: &SecretString,
        salt: &Salt,
        length: usize,
    ) -> Result<Output, password_hash::Error> {
        let mut buffer = self.buffers().pop().unwrap_or_default();
        let blocks = argon2.params().block_count();
        if buffer.len() < blocks {
            buffer.resize(blocks, Block::default());
        }
        let password = password.expose_secret().as_bytes();
        let used = &mut buffer[..blocks];
        let mut output = [0; Output::MAX_LENGTH];
        let output = &mut output[..length];
        let hashed = argon2.hash_password_into_with_memory(password, salt, output, &mut *used);
        used.iter_mut().for_each(Zeroize::zeroize);
        if buffer.len() <= Self::KEPT {
            self.buffers().push(buffer);
        }
        hashed?;
        Ok(Output::new(output)?)
    }

    fn buffers(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Block>>> {
        // A poisoned lock is used all the same: taking and returning a buffer cannot leave a partial change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a stored hash was made as new ones are.
pub(super) fn is_current(hash: &str) -> bool {
    let Ok(stored) = PasswordHash::new(hash) else { return false };
    let is_of_now = stored.algorithm == Algorithm::Argon2id.ident() && stored.version == Some(Version::V0x13.into());
    let is_as_costly =
        |params: Params| (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, LANES);
    is_of_now && Params::try_from(&stored).is_ok_and(is_as_costly)
}

fn new_hash(memory: &Memory, password: &SecretString, salt: Salt) -> Result<PasswordHash, password_hash::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    let written = ParamsString::try_from(&params)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let output = memory.compute(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN)?;
    Ok(PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: written,
        salt: Some(salt),
        hash: Some(output),
    })
}

/// Uses the parameters of the stored hash, so that hashes with older parameters can still be verified.
fn is_of(memory: &Memory, password: &SecretString, stored: &PasswordHash) -> Result<(), password_hash::Error> {
    let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
        return Err(password_hash::Error::PasswordInvalid);
    };
    let version = stored.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon2 = Argon2::new(Algorithm::try_from(stored.algorithm.as_str())?, version, Params::try_from(stored)?);
    // Outputs are compared in constant time.
    if memory.compute(&argon2, password, salt, expected.len())? == *expected {
        return Ok(());
    }
    Err(password_hash::Error::PasswordInvalid)
}

/// The error for a hash that cannot be parsed or computed. Its message never contains the hash.
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
    async fn hashes_of_other_parameters_verify_too() {
        // "password" and "somesalt" of the reference implementation's own test vectors (argon2i and argon2id).
        for known in [
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ] {
            let hasher = Hasher::new(1, Random);
            assert!(hasher.verify(&password("password"), Some(known.to_owned()), REQUEST).await.unwrap(), "{known}");
            assert!(!hasher.verify(&password("passwore"), Some(known.to_owned()), REQUEST).await.unwrap(), "{known}");
        }
    }

    #[tokio::test]
    async fn only_a_hash_of_todays_parameters_is_current() {
        let hasher = Hasher::new(1, Random);
        let today = hasher.hash(&password("a long enough one"), REQUEST).await.unwrap();
        assert!(is_current(&today) && is_current(NOBODY));
        for other in [
            "$argon2i$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
            "$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
            "$argon2id$v=19$m=19455,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
            "$argon2id$v=19$m=19456,t=3,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
            "nonsense",
        ] {
            assert!(!is_current(other), "{other}");
        }
    }

    #[tokio::test]
    async fn buffers_are_kept_zeroed_as_many_as_permits_and_no_larger() {
        let hasher = Hasher::new(2, Random);
        let wrong = password("whatever it may be");
        let attempt = || hasher.verify(&wrong, None, BACKGROUND);
        futures::future::join_all((0..6).map(|_| attempt())).await;
        let large = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        hasher.verify(&password("password"), Some(large.to_owned()), BACKGROUND).await.unwrap();
        let buffers = hasher.memory.buffers();
        assert!((1..=2).contains(&buffers.len()));
        for buffer in &*buffers {
            assert_eq!(buffer.len(), Memory::KEPT);
            assert!(buffer.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)));
        }
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
