//! Labels: what operators write on tenants and servers to find and place them by. The same rules hold for both.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    error::{FieldError, Result},
    types::is_steering,
};

/// How many labels one thing may have, and how long they may be, in bytes.
const MOST: usize = 50;
const NAME: usize = 63;
const VALUE: usize = 255;

/// The labels, an object of texts, with these set or taken away (`None`); all others stay.
///
/// # Errors
/// `validation_failed` on `labels`: `invalid_length`; `invalid_format` where one would steer what shows it; `too_many`
/// when there would be more than 50.
pub fn merged(labels: &Value, changes: BTreeMap<String, Option<String>>) -> Result<Value> {
    let mut merged = labels.as_object().cloned().unwrap_or_default();
    for (name, value) in changes {
        if !(1..=NAME).contains(&name.len()) || value.as_ref().is_some_and(|text| text.len() > VALUE) {
            let rule = format!("must have names of 1 to {NAME} bytes and values of {VALUE} at most");
            return Err(FieldError::new("labels", "invalid_length", rule).into());
        }
        if value.is_some() && name.chars().chain(value.iter().flat_map(|text| text.chars())).any(is_steering) {
            let rule = "must not hold control characters, nor such as break the line or turn its direction";
            return Err(FieldError::new("labels", "invalid_format", rule).into());
        }
        match value {
            Some(value) => drop(merged.insert(name, value.into())),
            None => drop(merged.remove(&name)),
        }
    }
    if merged.len() > MOST {
        return Err(
            FieldError::new("labels", "too_many", format!("must be {MOST} at most, with those there are")).into()
        );
    }
    Ok(merged.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_are_merged_and_bounded() {
        let changes = |pairs: &[(&str, Option<&str>)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
        };
        let labels = json!({ "tier": "gold", "region": "eu" });
        let merge = |pairs: &[_]| merged(&labels, changes(pairs));
        assert_eq!(merge(&[]).unwrap(), labels);
        let expected = json!({ "tier": "gold", "owner": "ada" });
        assert_eq!(merge(&[("region", None), ("owner", Some("ada")), ("nothing", None)]).unwrap(), expected);
        let long = "x".repeat(256);
        assert!(merge(&[("", Some("x"))]).is_err() && merge(&[("x", Some(&*long))]).is_err());
        assert!(merge(&[("a\u{1b}[2J", Some("x"))]).is_err() && merge(&[("x", Some("\u{202e}x"))]).is_err());
        assert!(merge(&[("a\u{1b}[2J", None)]).is_ok(), "one of earlier days can be taken away");
        let names: Vec<_> = (0..49).map(|number| number.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), Some("x"))).collect();
        assert!(merge(&many[..48]).is_ok() && merge(&many).is_err());
    }
}
