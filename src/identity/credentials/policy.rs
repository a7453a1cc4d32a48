//! The password policy, after NIST SP 800-63B-4, §3.1.1.
//!
//! A password must be long, and may have any characters. It is never truncated, and needs no mix of character classes
//! unless the tenant asks for one. It is used as the bytes that were sent, without Unicode normalization, so that a new
//! version of Unicode locks nobody out. The policy refuses what an attacker tries first: the passwords that leaks have
//! made common, repetitions, sequences of the alphabet or the keyboard, and common words or the account's own names with
//! a few characters added. No tenant can switch that off.

use super::common::is_common;
use crate::{
    error::FieldError,
    identity::settings::{CharacterClass, Decisions},
};

/// The maximum in bytes. It limits the work of hashing.
const MAX_BYTES: usize = 1_024;
/// How many characters a password must have besides the common words in it.
const MIN_OWN_CHARS: usize = 8;
/// Shorter words are not searched for, because they occur by chance.
const MIN_WORD_CHARS: usize = 4;

/// Words that are common in leaked passwords, in lower case.
const COMMON: &[&str] = &[
    "access",
    "administrator",
    "admin",
    "baseball",
    "changeme",
    "default",
    "dragon",
    "football",
    "freehold",
    "iloveyou",
    "letmein",
    "login",
    "master",
    "michael",
    "monkey",
    "passphrase",
    "passw0rd",
    "password",
    "p@ssw0rd",
    "p@ssword",
    "princess",
    "qwerty",
    "qwertz",
    "azerty",
    "secret",
    "shadow",
    "starwars",
    "sunshine",
    "superman",
    "temporary",
    "test",
    "trustno1",
    "user",
    "welcome",
];

/// Sequences of rows and columns of keyboards, of the alphabet and of digits. A password that is part of one is
/// refused.
const WALKS: &[&str] = &[
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
    "0123456789012345678901234567890123456789",
    "qwertyuiopasdfghjklzxcvbnmqwertyuiop",
    "qwertzuiopasdfghjklyxcvbnmqwertzuiop",
    "azertyuiopqsdfghjklmwxcvbnazertyuiop",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p1q2w3e4r5t6y7u8i9o0p",
    "a1b2c3d4e5f6g7h8i9j0",
];

/// What passwords have to be like in one tenant.
#[derive(Clone, Debug)]
pub struct Policy {
    /// In characters (Unicode code points).
    min_chars: usize,
    /// One character at least of each of these.
    classes: Vec<CharacterClass>,
}

/// Checks a new password where nobody has decided anything yet: a new tenant's first.
///
/// # Errors
/// As [`Policy::check`].
pub fn check_password_policy(password: &str, about: &[&str]) -> Result<(), FieldError> {
    Policy::of(&Decisions::default()).check(password, about)
}

impl Policy {
    /// What the tenant has decided.
    #[must_use]
    pub fn of(decisions: &Decisions) -> Self {
        Self { min_chars: decisions.password_min_length.into(), classes: decisions.password_classes.clone() }
    }

    /// Checks a new password. `about` has words that belong to the account: the product's and the tenant's name, the
    /// local part of the email address.
    ///
    /// # Errors
    /// On the field `password`: `password_too_short`, `password_too_long`, `password_too_simple`,
    /// `password_too_common`.
    pub fn check(&self, password: &str, about: &[&str]) -> Result<(), FieldError> {
        let refuse = |code, message: String| Err(FieldError::new("password", code, message));
        if password.len() > MAX_BYTES {
            return refuse("password_too_long", format!("must be at most {MAX_BYTES} bytes long"));
        }
        if password.chars().count() < self.min_chars {
            let message =
                format!("must be at least {} characters long; several words are easy to keep", self.min_chars);
            return refuse("password_too_short", message);
        }
        let missing: Vec<_> =
            self.classes.iter().filter(|class| !has(**class, password)).map(|one| name(*one)).collect();
        if !missing.is_empty() {
            return refuse("password_too_simple", format!("must have {}", missing.join(", ")));
        }
        let folded = password.to_lowercase();
        let characters: Vec<char> = folded.chars().collect();
        let is_guessed = is_common(&folded) || is_repetition(&characters) || is_walk(&characters);
        if is_guessed || !has_own_part(&characters, about) {
            let message = "is among the first that are guessed; choose another".to_owned();
            return refuse("password_too_common", message);
        }
        Ok(())
    }
}

fn has(class: CharacterClass, password: &str) -> bool {
    password.chars().any(|c| match class {
        CharacterClass::Upper => c.is_uppercase(),
        CharacterClass::Lower => c.is_lowercase(),
        CharacterClass::Digit => c.is_numeric(),
        CharacterClass::Special => !c.is_alphanumeric(),
    })
}

fn name(class: CharacterClass) -> &'static str {
    match class {
        CharacterClass::Upper => "an upper-case letter",
        CharacterClass::Lower => "a lower-case letter",
        CharacterClass::Digit => "a digit",
        CharacterClass::Special => "a character that is neither a letter nor a digit",
    }
}

/// Whether the text repeats a shorter one: `aaaa…`, `abcabc…`, `passwordpassword`.
fn is_repetition(text: &[char]) -> bool {
    (1..=text.len() / 2).any(|period| text[period..].iter().zip(text).all(|(later, earlier)| later == earlier))
}

/// Whether the letters and digits are a sequence in [`WALKS`], forwards or backwards.
fn is_walk(text: &[char]) -> bool {
    let steps: String = text.iter().filter(|c| c.is_alphanumeric()).collect();
    let back: String = steps.chars().rev().collect();
    !steps.is_empty() && WALKS.iter().any(|walk| walk.contains(&steps) || walk.contains(&back))
}

/// Whether enough characters are left without common words and the account's own words.
fn has_own_part(text: &[char], about: &[&str]) -> bool {
    let mut rest: String = text.iter().collect();
    let own = about.iter().map(|word| word.to_lowercase());
    let mut words: Vec<String> = own.chain(COMMON.iter().map(|word| (*word).to_owned())).collect();
    words.retain(|word| word.chars().count() >= MIN_WORD_CHARS);
    // The longest words first, so that a word within another one does not leave part of it.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let has_word = words.iter().fold(false, |found, word| {
        let without = rest.replace(word.as_str(), " ");
        let here = without != rest;
        rest = without;
        found || here
    });
    let left: Vec<char> = rest.chars().filter(|c| !c.is_whitespace()).collect();
    if !has_word {
        return true;
    }
    left.len() >= MIN_OWN_CHARS && !is_repetition(&left) && !is_walk(&left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(password: &str) -> Option<String> {
        check_password_policy(password, &["acme", "ada.lovelace"]).err().map(|error| error.code.into_owned())
    }

    #[test]
    fn length_is_counted_in_characters_and_bounded_in_bytes() {
        assert_eq!(judge("fourteen chars").as_deref(), Some("password_too_short"));
        assert_eq!(judge("fifteen chars !").as_deref(), None);
        assert_eq!(judge("ωκεανός βαθύς ξ").as_deref(), None, "fifteen characters, more bytes");
        let long: String = ('!'..='~').cycle().step_by(7).take(1_024).collect();
        assert_eq!(judge(&format!("{}x", &long)).as_deref(), Some("password_too_long"));
        let words = "nine green kettles sing slowly ".repeat(3) + "under a bridge";
        assert_eq!(judge(&words).as_deref(), None);
    }

    #[test]
    fn what_is_guessed_first_is_refused() {
        for bad in [
            "aaaaaaaaaaaaaaa",
            "abcabcabcabcabc",
            "passwordpassword",
            "123456789012345",
            "987654321098765",
            "abcdefghijklmnop",
            "qwertyuiopasdfgh",
            "1q2w3e4r5t6y7u8i",
            "Password1234567",
            "Password12345678!",
            "password-password-1",
            "Welcome-Welcome-2024",
            "acme-admin-2024!",
            "ada.lovelace-1815",
            "FreeholdFreehold1!",
        ] {
            assert_eq!(judge(bad).as_deref(), Some("password_too_common"), "{bad}");
        }
    }

    #[test]
    fn what_leaks_have_made_common_is_refused_whole_and_in_any_case() {
        for bad in ["perasperaadastra", "PerAsperaAdAstra", "30secondstomars"] {
            assert_eq!(judge(bad).as_deref(), Some("password_too_common"), "{bad}");
        }
        assert_eq!(judge("per aspera ad astra").as_deref(), None, "another one");
        assert_eq!(judge("so per perasperaadastra").as_deref(), None, "it is not the whole");
    }

    #[test]
    fn a_tenant_may_ask_for_more_and_for_kinds_of_characters() {
        let classes =
            vec![CharacterClass::Upper, CharacterClass::Lower, CharacterClass::Digit, CharacterClass::Special];
        let decisions = Decisions { password_min_length: 20, password_classes: classes, ..Decisions::default() };
        let judge = |password: &str| Policy::of(&decisions).check(password, &[]).err();
        assert_eq!(judge("nine Green 7 ones!").unwrap().code, "password_too_short");
        for (password, missing) in [
            ("nine green 7 kettles!", "an upper-case letter"),
            ("NINE GREEN 7 KETTLES!", "a lower-case letter"),
            ("Nine green six kettles!", "a digit"),
            ("NineGreenKettlesSing7Slowly", "a character that is neither a letter nor a digit"),
        ] {
            let error = judge(password).unwrap();
            assert_eq!((error.code.as_ref(), error.message), ("password_too_simple", format!("must have {missing}")));
        }
        assert_eq!(judge("Nine green 7 kettles!"), None);
        let short = Decisions { password_min_length: 8, mfa_required: true, ..Decisions::default() };
        assert_eq!(Policy::of(&short).check("kd83nx0q", &[]), Ok(()));
        assert!(Policy::of(&short).check("football1", &[]).is_err());
    }

    #[test]
    fn a_known_word_inside_a_password_of_ones_own_is_fine() {
        for good in ["the password of my grandmother", "acme kettles sing slowly", "7h!s-one-is-mine-9Xq"] {
            assert_eq!(judge(good).as_deref(), None, "{good}");
        }
    }
}
