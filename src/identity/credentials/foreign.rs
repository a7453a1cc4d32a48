//! Passwords that other systems have hashed: bcrypt, scrypt, PBKDF2, and argon2 of any parameters.
//!
//! They come with people who are imported. Each is verified as its system did, and replaced by one of ours when its owner
//! signs in. [`accept`] brings a hash into the one form that is stored. It refuses what would cost a server too much time
//! or memory, and what is so short that other passwords match it too.

use std::num::NonZeroU32;

use argon2::{Algorithm, Params, password_hash::phc::PasswordHash};
use aws_lc_rs::pbkdf2;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD_NO_PAD,
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// The most memory that a hash may take, in KiB: 128 MiB, once for each hash that is computed at a time.
const MOST_KIB: u64 = 128 * 1024;
/// The most memory times passes of argon2 and scrypt, in KiB: about a second.
const MOST_WORK: u64 = 4 * MOST_KIB;
/// The most lanes of argon2 and scrypt.
const MOST_LANES: u32 = 16;
/// The costs of bcrypt. Each doubles the time: 14 takes about a second.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;
/// The most rounds of PBKDF2: about a second.
const MOST_ROUNDS: u32 = 2_000_000;
/// The lengths of a hash, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;
/// The most bytes of a salt.
const LONGEST_SALT: usize = 128;

/// Some systems pad their Base64, and some write `.` for `+`.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A hash of an algorithm that is not argon2.
#[derive(Debug)]
pub(super) enum Foreign {
    /// As its text. Only the first 72 bytes of a password count.
    Bcrypt(String),
    /// With its cost, salt and output.
    Scrypt { log_n: u8, block: u32, lanes: u32, salt: Vec<u8>, output: Vec<u8> },
    /// With the name of its digest, its rounds, salt and output.
    Pbkdf2 { digest: Digest, rounds: NonZeroU32, salt: Vec<u8>, output: Vec<u8> },
}

/// What PBKDF2 is computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    Sha1,
    Sha256,
    Sha512,
}

impl Digest {
    const ALL: [(Self, &'static str); 3] = [(Self::Sha1, "sha1"), (Self::Sha256, "sha256"), (Self::Sha512, "sha512")];

    /// Without a name it is SHA-1.
    fn named(name: &str) -> Option<Self> {
        let name = if name.is_empty() { "sha1" } else { name };
        Self::ALL.into_iter().find(|(_, known)| *known == name).map(|(digest, _)| digest)
    }

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(digest, _)| *digest == self).map_or("", |(_, name)| name)
    }

    fn algorithm(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// The form in which a hash is stored. `None` when it is of no kind that is known, or outside of the bounds.
///
/// These forms are read: `$argon2id$…`, `$argon2i$…` and `$argon2d$…` (PHC); `$2a$`, `$2b$` and `$2y$` (bcrypt);
/// `$scrypt$ln=…,r=…,p=…$…` (PHC); `$pbkdf2-sha256$i=…$…` (PHC), `$pbkdf2-sha256$<rounds>$…` (passlib), and
/// `pbkdf2_sha256$<rounds>$<salt>$…` (Django), each also with SHA-1 and SHA-512.
pub(in crate::identity) fn accept(hash: &str) -> Option<String> {
    if hash.starts_with("$argon2") {
        return argon2_within_bounds(hash).then(|| hash.to_owned());
    }
    let foreign = Foreign::parse(hash)?;
    foreign.is_within_bounds().then(|| foreign.to_text())
}

/// Whether an argon2 hash can be computed, at a bearable cost.
fn argon2_within_bounds(hash: &str) -> bool {
    let Ok(stored) = PasswordHash::new(hash) else { return false };
    let Ok(params) = Params::try_from(&stored) else { return false };
    let (memory, passes) = (u64::from(params.m_cost()), u64::from(params.t_cost()));
    // Others are secrets and associated data that Freehold does not have.
    let is_plain = stored.params.iter().all(|(name, _)| matches!(name.as_str(), "m" | "t" | "p"));
    let is_known = Algorithm::try_from(stored.algorithm.as_str()).is_ok();
    let is_long = stored.hash.as_ref().is_some_and(|output| LENGTHS.contains(&output.len()));
    let is_bearable = memory <= MOST_KIB && memory * passes <= MOST_WORK && params.p_cost() <= MOST_LANES;
    is_plain && is_known && is_long && is_bearable && stored.salt.is_some()
}

impl Foreign {
    /// Reads a hash of any algorithm but argon2.
    pub(super) fn parse(hash: &str) -> Option<Self> {
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
            return hash.parse::<bcrypt::HashParts>().is_ok().then(|| Self::Bcrypt(hash.to_owned()));
        }
        let parts: Vec<_> = hash.split('$').collect();
        match parts[..] {
            ["", "scrypt", costs, salt, output] => {
                let [log_n, block, lanes] = numbers(costs, ["ln", "r", "p"])?;
                let log_n = u8::try_from(log_n).ok()?;
                Some(Self::Scrypt { log_n, block, lanes, salt: decoded(salt)?, output: decoded(output)? })
            }
            ["", kind, rounds, salt, output] => {
                let digest = Digest::named(kind.strip_prefix("pbkdf2")?.trim_start_matches('-'))?;
                // PHC says also how long the output is, which can be seen.
                let rounds = match rounds.split(',').find_map(|one| one.strip_prefix("i=")) {
                    Some(named) => named,
                    None => rounds,
                };
                Some(Self::Pbkdf2 {
                    digest,
                    rounds: rounds.parse().ok()?,
                    salt: decoded(salt)?,
                    output: decoded(output)?,
                })
            }
            // Django's salt is text.
            [kind, rounds, salt, output] => {
                let digest = Digest::named(kind.strip_prefix("pbkdf2_")?)?;
                let salt = salt.as_bytes().to_vec();
                Some(Self::Pbkdf2 { digest, rounds: rounds.parse().ok()?, salt, output: decoded(output)? })
            }
            _ => None,
        }
    }

    fn is_within_bounds(&self) -> bool {
        match self {
            Self::Bcrypt(hash) => {
                hash.parse::<bcrypt::HashParts>().is_ok_and(|parts| BCRYPT_COSTS.contains(&parts.get_cost()))
            }
            Self::Scrypt { log_n, block, lanes, salt, output } => {
                // 128 bytes times N times r.
                let kib = 1_u64.checked_shl((*log_n).into()).and_then(|n| n.checked_mul((*block).into()));
                let kib = kib.map_or(u64::MAX, |blocks| blocks / 8);
                let is_bearable = kib <= MOST_KIB && kib.saturating_mul((*lanes).into()) <= MOST_WORK;
                is_bearable && *log_n > 0 && *lanes <= MOST_LANES && self.params().is_some() && is_fit(salt, output)
            }
            Self::Pbkdf2 { rounds, salt, output, .. } => rounds.get() <= MOST_ROUNDS && is_fit(salt, output),
        }
    }

    /// Of scrypt.
    fn params(&self) -> Option<scrypt::Params> {
        match self {
            Self::Scrypt { log_n, block, lanes, .. } => scrypt::Params::new(*log_n, *block, *lanes).ok(),
            Self::Bcrypt(_) | Self::Pbkdf2 { .. } => None,
        }
    }

    fn to_text(&self) -> String {
        let encoded = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
        match self {
            Self::Bcrypt(hash) => hash.clone(),
            Self::Scrypt { log_n, block, lanes, salt, output } => {
                format!("$scrypt$ln={log_n},r={block},p={lanes}${}${}", encoded(salt), encoded(output))
            }
            Self::Pbkdf2 { digest, rounds, salt, output } => {
                let (name, length) = (digest.name(), output.len());
                format!("$pbkdf2-{name}$i={rounds},l={length}${}${}", encoded(salt), encoded(output))
            }
        }
    }

    /// Whether it is a hash of `password`. Takes as long as the hash says.
    pub(super) fn is_of(&self, password: &SecretString) -> bool {
        let password = password.expose_secret();
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Scrypt { salt, output, .. } => {
                let mut computed = vec![0; output.len()];
                let Some(params) = self.params() else { return false };
                let is_computed = scrypt::scrypt(password.as_bytes(), salt, &params, &mut computed).is_ok();
                is_computed && computed.ct_eq(output).into()
            }
            Self::Pbkdf2 { digest, rounds, salt, output } => {
                // Compares in constant time.
                pbkdf2::verify(digest.algorithm(), *rounds, salt, password.as_bytes(), output).is_ok()
            }
        }
    }
}

fn is_fit(salt: &[u8], output: &[u8]) -> bool {
    (1..=LONGEST_SALT).contains(&salt.len()) && LENGTHS.contains(&output.len())
}

/// The numbers in `a=1,b=2`, in the order of their names.
fn numbers<const N: usize>(text: &str, names: [&str; N]) -> Option<[u32; N]> {
    let mut found = [0; N];
    let pairs: Vec<_> = text.split(',').map(|pair| pair.split_once('=')).collect::<Option<_>>()?;
    if pairs.len() != N {
        return None;
    }
    for ((name, value), (expected, found)) in pairs.into_iter().zip(names.iter().zip(&mut found)) {
        if name != *expected {
            return None;
        }
        *found = value.parse().ok()?;
    }
    Some(found)
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(text.replace('.', "+")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the systems themselves make of "password", but for the first three: those are of RFC 6070 and RFC 7914.
    const KNOWN: &[&str] = &[
        "$pbkdf2$2$c2FsdA$6mwBTcctb4zNHtkqzh1B8NjeiVc",
        "$pbkdf2-sha1$i=4096,l=20$c2FsdA$SwB5AbdlSJq+rUnZJvch0GWkKcE",
        "$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWIurzDZLiKjiG/xCSedmDDaxyevuUqD7m2DYMvfoswGQA",
    ];

    fn verifies(hash: &str, password: &str) -> bool {
        Foreign::parse(&accept(hash).unwrap_or_else(|| panic!("{hash}"))).unwrap().is_of(&password.into())
    }

    #[test]
    fn vectors_of_the_standards_verify() {
        for hash in KNOWN {
            assert!(verifies(hash, "password") && !verifies(hash, "passwore"), "{hash}");
        }
    }

    #[test]
    fn each_form_that_a_system_writes_is_read_into_one() {
        // One hash in the forms of PHC, passlib and Django: "password" and "salt" in 1,000 rounds of SHA-256.
        let mut output = [0; 32];
        let rounds = NonZeroU32::new(1_000).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, b"salt", b"password", &mut output);
        let padded = base64::prelude::BASE64_STANDARD.encode(output);
        let plain = padded.trim_end_matches('=');
        let phc = format!("$pbkdf2-sha256$i=1000,l=32$c2FsdA${plain}");
        let passlib = format!("$pbkdf2-sha256$1000$c2FsdA${}", plain.replace('+', "."));
        let django = format!("pbkdf2_sha256$1000$salt${padded}");
        for form in [&phc, &passlib, &django] {
            assert_eq!(accept(form).as_ref(), Some(&phc), "{form}");
        }
        assert!(verifies(&django, "password"));
    }

    #[test]
    fn bcrypt_is_read_with_each_of_its_prefixes_and_looks_at_72_bytes() {
        let hash = bcrypt::hash_with_salt("password", 4, [7; 16]).unwrap();
        for version in [bcrypt::Version::TwoA, bcrypt::Version::TwoB, bcrypt::Version::TwoY] {
            let hash = hash.format_for_version(version);
            assert!(verifies(&hash, "password") && !verifies(&hash, "passwore"), "{hash}");
        }
        let long = bcrypt::hash_with_salt("x".repeat(80), 4, [7; 16]).unwrap().to_string();
        assert!(verifies(&long, &"x".repeat(72)) && !verifies(&long, &"x".repeat(71)));
    }

    #[test]
    fn what_would_cost_too_much_or_match_too_much_is_refused() {
        let of = |costs: &str| format!("$scrypt${costs}$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let argon =
            |costs: &str| format!("$argon2id$v=19${costs}$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc");
        for accepted in
            [of("ln=17,r=8,p=1"), of("ln=14,r=8,p=16"), argon("m=131072,t=4,p=1"), argon("m=65536,t=8,p=16")]
        {
            assert!(accept(&accepted).is_some(), "{accepted}");
        }
        let bcrypt = "$2b$15$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui".to_owned();
        for refused in [
            of("ln=18,r=8,p=1"),
            of("ln=63,r=8,p=1"),
            of("ln=255,r=8,p=1"),
            of("ln=17,r=8,p=5"),
            of("ln=10,r=8,p=17"),
            of("ln=10,r=4294967295,p=1"),
            of("ln=0,r=8,p=1"),
            of("r=8,ln=10,p=1"),
            argon("m=131073,t=1,p=1"),
            argon("m=131072,t=5,p=1"),
            argon("m=1024,t=1,p=17"),
            argon("m=1024,t=1,p=1,keyid=c2FsdA"),
            argon("m=4294967295,t=4294967295,p=1"),
            "$argon2id$v=19$m=1024,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAA".to_owned(),
            "$argon2id$v=19$m=1024,t=1,p=1$c29tZXNhbHQ".to_owned(),
            "$argon2x$v=19$m=1024,t=1,p=1$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc".to_owned(),
            bcrypt,
            "$2x$10$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui".to_owned(),
            "$2b$10$short".to_owned(),
            "$pbkdf2-sha256$2000001$c2FsdA$6mwBTcctb4zNHtkqzh1B8NjeiVc".to_owned(),
            "$pbkdf2-sha256$0$c2FsdA$6mwBTcctb4zNHtkqzh1B8NjeiVc".to_owned(),
            "$pbkdf2-md5$1000$c2FsdA$6mwBTcctb4zNHtkqzh1B8NjeiVc".to_owned(),
            "$pbkdf2-sha256$1000$c2FsdA$6mwB".to_owned(),
            "$pbkdf2-sha256$1000$$6mwBTcctb4zNHtkqzh1B8NjeiVc".to_owned(),
            "pbkdf2_sha256$1000$salt$*".to_owned(),
            "5f4dcc3b5aa765d61d8327deb882cf99".to_owned(),
            "password".to_owned(),
            String::new(),
        ] {
            assert_eq!(accept(&refused), None, "{refused}");
        }
    }
}
