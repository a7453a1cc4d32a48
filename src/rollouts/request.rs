//! What an operator asks for: waves, canaries, and how many failures are too many.

use std::{fmt, str::FromStr};

use serde_json::{Value, json};

use crate::{
    control::rollout_plan::Candidate,
    error::{Error, FieldError, Result},
    types::Invalid,
};

/// The most waves of a rollout, and the most canaries.
const MOST: usize = 50;

/// A rollout that is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The version of the product's stream; the newest unless said otherwise. Freehold's own always goes to the newest.
    pub target: Option<i32>,
    /// Ids or slugs of the tenants that go first.
    pub canaries: Vec<String>,
    /// The waves after the canaries. The last one is [`Members::ALL`].
    pub waves: Vec<Members>,
    /// At most so many tenants of one server at a time.
    pub concurrency: Option<i32>,
    /// With more failures than that it pauses.
    pub max_failures: MaxFailures,
}

impl Default for Request {
    fn default() -> Self {
        let waves = [5.0, 25.0, 100.0].map(Members::Share).into();
        Self { target: None, canaries: Vec::new(), waves, concurrency: None, max_failures: MaxFailures::default() }
    }
}

impl Request {
    /// Checks what can be checked without the control database.
    ///
    /// # Errors
    /// `validation_failed`.
    pub fn check(&self) -> Result<()> {
        let wrong = |field: &str, code: &'static str, message: &str| Err(FieldError::new(field, code, message).into());
        if self.waves.last() != Some(&Members::ALL) {
            let message = "must end with \"100%\", so that no tenant is left out by mistake";
            return wrong("waves", "last_wave_not_all", message);
        }
        if self.waves.len() > MOST {
            return wrong("waves", "too_many", "must not be more than 50");
        }
        if self.canaries.len() > MOST {
            return wrong("canary", "too_many", "must not be more than 50");
        }
        if self.concurrency.is_some_and(|concurrency| !(1..=64).contains(&concurrency)) {
            return wrong("concurrency", "invalid_range", "must be 1 to 64");
        }
        Ok(())
    }
}

/// Which tenants a wave is made of, of those that earlier waves have left.
#[derive(Clone, Debug, PartialEq)]
pub enum Members {
    /// So many that this share of all tenants, in percent, is in this wave or in one before it.
    Share(f64),
    /// Those on a plan.
    Plan(String),
    /// Those on servers of a region.
    Region(String),
    /// Those with a label of this name and value.
    Label(String, String),
}

impl Members {
    /// All tenants that are left.
    pub const ALL: Self = Self::Share(100.0);

    /// The wave that a request describes.
    ///
    /// # Errors
    /// `invalid_wave`.
    pub fn from_json(value: &Value) -> Result<Self, Invalid> {
        let invalid = || {
            let message =
                "must be a share such as \"25%\", or {\"plan\": …}, {\"region\": …} or {\"label\": \"name=value\"}";
            Invalid::new("invalid_wave", message)
        };
        if let Some(text) = value.as_str() {
            return percent(text).map(Self::Share).ok_or_else(invalid);
        }
        let only = value.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next());
        let (name, text) = only.and_then(|(name, value)| Some((name.as_str(), value.as_str()?))).ok_or_else(invalid)?;
        match (name, text.split_once('=')) {
            ("plan", _) if !text.is_empty() => Ok(Self::Plan(text.to_owned())),
            ("region", _) if !text.is_empty() => Ok(Self::Region(text.to_owned())),
            ("label", Some((label, value))) if !label.is_empty() => Ok(Self::Label(label.to_owned(), value.to_owned())),
            _ => Err(invalid()),
        }
    }

    /// The wave as a request describes it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Share(percent) => json!(format!("{percent}%")),
            Self::Plan(plan) => json!({ "plan": plan }),
            Self::Region(region) => json!({ "region": region }),
            Self::Label(name, value) => json!({ "label": format!("{name}={value}") }),
        }
    }

    /// Whether the tenant belongs to a wave that is not a share.
    #[must_use]
    pub fn include(&self, tenant: &Candidate) -> bool {
        match self {
            Self::Share(_) => false,
            Self::Plan(plan) => tenant.plan == *plan,
            Self::Region(region) => tenant.region.as_ref() == Some(region),
            Self::Label(name, value) => tenant.labels.get(name).and_then(Value::as_str) == Some(value),
        }
    }
}

/// The waves that a request describes.
///
/// # Errors
/// `validation_failed` on `waves[i]`.
pub fn waves(values: &[Value]) -> Result<Vec<Members>> {
    let mut errors = Vec::new();
    let mut waves = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        match Members::from_json(value) {
            Ok(members) => waves.push(members),
            Err(invalid) => errors.push(FieldError::invalid(format!("waves[{index}]"), invalid)),
        }
    }
    if errors.is_empty() { Ok(waves) } else { Err(Error::Validation(errors)) }
}

/// How many failed tenants a rollout goes on with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailures {
    /// A share of the tenants in the waves that have begun, in percent.
    Share(f64),
    /// A number.
    Count(i64),
}

impl Default for MaxFailures {
    fn default() -> Self {
        Self::Share(2.0)
    }
}

impl MaxFailures {
    /// Whether `failed` of `tenants` are too many.
    #[must_use]
    pub fn is_exceeded(self, failed: i64, tenants: i64) -> bool {
        let number = |count: i64| f64::from(i32::try_from(count).unwrap_or(i32::MAX));
        match self {
            Self::Share(percent) => number(failed) * 100.0 > number(tenants) * percent,
            Self::Count(most) => failed > most,
        }
    }
}

impl fmt::Display for MaxFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(percent) => write!(f, "{percent}%"),
            Self::Count(most) => write!(f, "{most}"),
        }
    }
}

impl FromStr for MaxFailures {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new("invalid_max_failures", "must be a share such as \"2%\", or a number of tenants such as \"3\"")
        };
        if text == "0%" {
            return Ok(Self::Share(0.0));
        }
        if text.ends_with('%') {
            return percent(text).map(Self::Share).ok_or_else(invalid);
        }
        text.parse::<u32>().map(|most| Self::Count(most.into())).map_err(|_| invalid())
    }
}

/// The share of above 0 to 100 in a text such as `2.5%`.
fn percent(text: &str) -> Option<f64> {
    let digits = text.strip_suffix('%')?;
    let is_plain = digits.len() <= 6 && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent = digits.parse::<f64>().ok().filter(|_| is_plain)?;
    (percent > 0.0 && percent <= 100.0).then_some(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_are_read_and_written_in_every_form() {
        for form in [json!("5%"), json!("0.5%"), json!("100%"), json!({"plan": "free"}), json!({"region": "eu"})] {
            assert_eq!(Members::from_json(&form).unwrap().to_json(), form);
        }
        let label = Members::from_json(&json!({"label": "tier=gold=1"})).unwrap();
        assert_eq!(label, Members::Label("tier".into(), "gold=1".into()));
        for wrong in [
            json!("0%"),
            json!("101%"),
            json!("5"),
            json!("-5%"),
            json!("1e1%"),
            json!("NaN%"),
            json!(5),
            json!({}),
            json!({"plan": ""}),
            json!({"label": "gold"}),
            json!({"plan": "a", "region": "b"}),
            json!({"other": "a"}),
        ] {
            assert!(Members::from_json(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn failures_are_a_share_or_a_number() {
        let most = |text: &str| text.parse::<MaxFailures>();
        assert!(!most("2%").unwrap().is_exceeded(1, 50) && most("2%").unwrap().is_exceeded(1, 49));
        assert!(!most("3").unwrap().is_exceeded(3, 3) && most("3").unwrap().is_exceeded(4, 1_000));
        assert!(most("0%").unwrap().is_exceeded(1, 1_000) && most("0").unwrap().is_exceeded(1, 1_000));
        for wrong in ["", "%", "-1", "x", "200%", "1.5"] {
            assert!(most(wrong).is_err(), "{wrong}");
        }
        assert_eq!(most("2.5%").unwrap().to_string(), "2.5%");
    }

    #[test]
    fn the_last_wave_takes_all_that_are_left() {
        assert!(Request::default().check().is_ok());
        for waves in [vec![], vec![Members::Share(99.0)], vec![Members::ALL, Members::Plan("free".into())]] {
            assert!(Request { waves, ..Request::default() }.check().is_err());
        }
    }
}
