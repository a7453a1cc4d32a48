//! Turns what serde says about a wrong value into a field, a stable code and a sentence for people.
//!
//! serde's errors are text. Values of ours cross it as `code: message` (`types::split_rejection`); the rest
//! are serde's own sentences, whose shapes are fixed by `serde::de::Error`. A sentence that is not known here
//! becomes `invalid_value`.

use std::fmt::Display;

use crate::{error::FieldError, types::split_rejection};

/// Describes a wrong value at `path`. `error` is the deserializer's, in whatever format it reads.
pub(super) fn describe<E: Display>(error: &serde_path_to_error::Error<E>) -> FieldError {
    let sentence = error.inner().to_string();
    describe_sentence(&error.path().to_string(), without_position(&sentence))
}

/// A string that PostgreSQL cannot store. Of a text of several lines, `line` is the one that holds it.
pub(super) fn nul(field: impl Into<String>, line: usize) -> FieldError {
    let at = if line > 1 { format!("line {line}: ") } else { String::new() };
    FieldError::new(field, "invalid_format", format!("{at}must not hold the character NUL"))
}

/// A field that the request does not have.
pub(super) fn unknown(field: impl Into<String>) -> FieldError {
    FieldError::new(field, "unknown_field", "is not a field of this request")
}

/// `serde_json` ends its sentences with ` at line 1 column 2`; a field's path is more use than that.
fn without_position(sentence: &str) -> &str {
    sentence.rsplit_once(" at line ").map_or(sentence, |(head, _)| head)
}

fn describe_sentence(path: &str, sentence: &str) -> FieldError {
    if let Some((code, message)) = split_rejection(sentence) {
        return FieldError::new(path, code.to_owned(), message);
    }
    let named = |prefix: &str| sentence.strip_prefix(prefix).and_then(quoted);
    if let Some(name) = named("missing field ") {
        return FieldError::new(child(path, name), "required", "is required");
    }
    if let Some(name) = named("unknown field ") {
        return unknown(child(path, name));
    }
    if let Some(name) = named("duplicate field ") {
        return FieldError::new(child(path, name), "duplicate_field", "must be given once");
    }
    let expected = sentence.rsplit_once(", expected ").map(|(_, expected)| in_words(expected));
    let (code, message) = match expected {
        Some(expected) if sentence.starts_with("invalid type") => ("invalid_type", format!("must be {expected}")),
        Some(expected) => ("invalid_value", format!("must be {expected}")),
        None => ("invalid_value", "has a value that is not accepted here".to_owned()),
    };
    FieldError::new(path, code, message)
}

/// What serde expected, where it names a type of Rust's.
fn in_words(expected: &str) -> &str {
    match expected {
        "i16" | "i32" | "i64" => "a whole number within bounds",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number within bounds, and not negative",
        other => other,
    }
}

/// The name between the first pair of backticks.
fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('`')?.split_once('`').map(|(name, _)| name)
}

/// The path of `name` inside of `path`. For a key that is refused, the path may end with the key already.
fn child(path: &str, name: &str) -> String {
    match path {
        "." | "?" => name.to_owned(),
        path if path == name || path.ends_with(&format!(".{name}")) => path.to_owned(),
        path => format!("{}.{name}", path.trim_end_matches(".?")),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::types::{Email, Slug};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its parsing is looked at")]
    struct Tenant {
        slug: Slug,
        admin: Admin,
        labels: Option<Vec<u8>>,
        state: Option<State>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its parsing is looked at")]
    struct Admin {
        email: Email,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum State {
        Active,
        Gone,
    }

    fn refusal(json: &str) -> (String, String, String) {
        let error = serde_path_to_error::deserialize::<_, Tenant>(&mut serde_json::Deserializer::from_str(json))
            .err()
            .expect("refused");
        let FieldError { field, code, message } = describe(&error);
        (field, code.into_owned(), message)
    }

    #[test]
    fn each_wrong_field_is_named_by_path_and_code() {
        let admin = r#""admin":{"email":"ada@example.com"}"#;
        for (json, field, code) in [
            (r"{}".to_owned(), "slug", "required"),
            (format!(r#"{{"slug":"acme",{admin},"colour":1}}"#), "colour", "unknown_field"),
            (format!(r#"{{"slug":"acme",{admin},"slug":"acme"}}"#), "slug", "duplicate_field"),
            (format!(r#"{{"slug":7,{admin}}}"#), "slug", "invalid_type"),
            (format!(r#"{{"slug":"www",{admin}}}"#), "slug", "reserved"),
            (r#"{"slug":"acme","admin":{}}"#.to_owned(), "admin.email", "required"),
            (r#"{"slug":"acme","admin":{"mail":1}}"#.to_owned(), "admin.mail", "unknown_field"),
            (r#"{"slug":"acme","admin":{"email":"ada"}}"#.to_owned(), "admin.email", "invalid_email"),
            (format!(r#"{{"slug":"acme",{admin},"labels":[1,300]}}"#), "labels[1]", "invalid_value"),
            (format!(r#"{{"slug":"acme",{admin},"state":"asleep"}}"#), "state", "invalid_value"),
        ] {
            let (found_field, found_code, _) = refusal(&json);
            assert_eq!((found_field.as_str(), found_code.as_str()), (field, code), "{json}");
        }
    }

    #[test]
    fn a_message_says_what_is_accepted_and_never_what_was_sent() {
        let (.., message) = refusal(r#"{"slug":424242}"#);
        assert_eq!(message, "must be a string");
        let (.., message) = refusal(r#"{"slug":"acme","admin":{"email":"a@b.cd"},"state":"secret"}"#);
        assert_eq!(message, "must be `active` or `gone`");
        let (.., message) = refusal(r#"{"slug":"acme","admin":{"email":"a@b.cd"},"labels":[300]}"#);
        assert_eq!(message, "must be a whole number within bounds, and not negative");
    }
}
