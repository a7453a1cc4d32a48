//! What a mail says: a subject, a text, and the same as a page of HTML.
//!
//! Both are templates, files in `templates/`, compiled into the program. A value in a page is escaped, whatever it holds.
//! A value is one line of bounded length in both, and in the subject: nobody's name can pass for a paragraph of ours.
//! A template that names a value which it is not given is an error, and a test renders each.

use std::sync::Arc;

use minijinja::{Environment, UndefinedBehavior, Value};

use crate::{
    error::{Error, Result},
    types::is_steering,
};

/// The longest value, in characters.
const LONGEST: usize = 2_000;
/// The longest subject, in characters.
const LONGEST_SUBJECT: usize = 150;

/// What a mail says.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// The templates of all letters. Clones share them.
#[derive(Clone)]
pub(super) struct Templates(Arc<Environment<'static>>);

/// The files of a template, by their names.
macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_str!(concat!("templates/", $name)))),+]
    };
}

const FILES: [(&str, &str); 5] =
    files!["layout.html", "invitation.txt", "invitation.html", "account.txt", "account.html"];

impl Templates {
    pub(super) fn new() -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, source) in FILES {
            environment.add_template(name, source).map_err(Error::internal)?;
        }
        Ok(Self(Arc::new(environment)))
    }

    /// The letter of the files `name.txt` and `name.html`, with these values.
    pub(super) fn letter<const N: usize>(
        &self,
        name: &str,
        subject: &str,
        values: [(&'static str, &str); N],
    ) -> Result<Letter> {
        let subject = one_line(subject, LONGEST_SUBJECT);
        let named = values.into_iter().map(|(name, value)| (name, one_line(value, LONGEST)));
        let values = Value::from_pairs(named.chain([("subject", subject.clone())]));
        let render = |ending: &str| -> Result<String> {
            let template = self.0.get_template(&format!("{name}.{ending}")).map_err(Error::internal)?;
            template.render(values.clone()).map_err(Error::internal)
        };
        Ok(Letter { text: render("txt")?, html: render("html")?, subject })
    }
}

/// The text as one line of at most so many characters.
fn one_line(text: &str, longest: usize) -> String {
    text.chars().map(|c| if is_steering(c) { ' ' } else { c }).take(longest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_line_of_bounded_length() {
        assert_eq!(one_line("a\r\nBcc: b\u{2028}c\u{202E}d", 100), "a  Bcc: b c d");
        assert_eq!(one_line(&"x".repeat(200), 150).len(), 150);
    }

    #[test]
    fn a_template_lacks_no_value() {
        let templates = Templates::new().unwrap();
        assert!(templates.letter("invitation", "Subject", [("tenant", "Acme")]).is_err());
    }
}
