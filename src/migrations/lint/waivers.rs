//! Waivers: a comment right before a statement lets it do what a rule forbids, and says why.

use super::{
    rules::{RULES, WAIVER_REASON, WAIVER_UNUSED},
    scene::Found,
    syntax::Comment,
};
use crate::migrations::marker;

/// What a comment waives.
pub(super) struct Waiver {
    offset: usize,
    rule: String,
    /// Why; empty if nothing is said.
    reason: String,
    statement: Option<usize>,
}

impl Waiver {
    pub(super) fn of(comment: &Comment<'_>) -> Option<Self> {
        let word = marker::word(comment.text).filter(|word| marker::is_waiver(word))?;
        let (rule, reason) = word.trim_start_matches(marker::ALLOW).split_once(':').unwrap_or((word, ""));
        let rule = rule.trim().trim_start_matches(marker::ALLOW).trim().to_owned();
        let reason = reason.trim().to_owned();
        Some(Self { offset: comment.offset, rule, reason, statement: comment.before })
    }

    fn waives(&self, found: &Found) -> bool {
        found.statement.is_some() && found.statement == self.statement && found.rule.name == self.rule
    }
}

/// Why a finding is waived, if it is.
pub(super) fn reason<'a>(waivers: &'a [Waiver], found: &Found) -> Option<&'a str> {
    waivers.iter().find(|waiver| waiver.waives(found)).map(|waiver| waiver.reason.as_str())
}

/// What is left of the findings; and the waivers that are wrong themselves.
pub(super) fn apply(waivers: &[Waiver], found: Vec<Found>) -> Vec<Found> {
    let mut wrong = Vec::new();
    for waiver in waivers {
        let mut report = |rule, what: String| {
            wrong.push(Found { rule, offset: waiver.offset, what, statement: None });
        };
        if waiver.reason.is_empty() {
            report(&WAIVER_REASON, waiver.rule.clone());
        }
        if !RULES.iter().any(|rule| rule.name == waiver.rule) {
            report(&WAIVER_UNUSED, format!("there is no rule {}", waiver.rule));
        } else if !found.iter().any(|found| waiver.waives(found)) {
            report(&WAIVER_UNUSED, waiver.rule.clone());
        }
    }
    let is_left = |found: &Found| !waivers.iter().any(|waiver| waiver.waives(found));
    found.into_iter().filter(is_left).chain(wrong).collect()
}
