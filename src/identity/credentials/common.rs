//! The passwords that leaks have made common: nobody may choose one of them.
//!
//! The table holds the first eight bytes of the SHA-256 of each, in lower case, sorted. `ops/common-passwords` makes it;
//! `common.bin.license` says out of what. Whole passwords are compared (NIST SP 800-63B-4, §3.1.1.2): a common one
//! within a longer one is no reason to refuse that. A password that is not in the list is taken for one of it once in
//! thirty million million times.

use aws_lc_rs::digest::{SHA256, digest};

static TABLE: &[u8] = include_bytes!("common.bin");

/// Whether the password, in lower case, is one of them.
pub(super) fn is_common(folded: &str) -> bool {
    let digest = digest(&SHA256, folded.as_bytes());
    let (hashes, _) = TABLE.as_chunks::<8>();
    digest.as_ref().first_chunk::<8>().is_some_and(|hash| hashes.binary_search(hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_knows_what_leaks_know() {
        let (hashes, rest) = TABLE.as_chunks::<8>();
        assert!(rest.is_empty() && hashes.is_sorted_by(|a, b| a < b));
        assert!(hashes.len() > 450_000, "{}", hashes.len());
        for common in ["password", "12345678", "qwertyuiop", "1qaz2wsx3edc4rfv", "football1", "passwordpassword"] {
            assert!(is_common(common), "{common}");
        }
        // In the list, and shorter than any policy allows.
        assert!(!is_common("123456"));
        for own in ["nine green kettles sing slowly", "password of my grandmother", "kd83nx0qwl", ""] {
            assert!(!is_common(own), "{own}");
        }
    }
}
