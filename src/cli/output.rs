//! What a command prints: results to standard output, all else to standard error. The one place that does.
//!
//! JSON is what the API answered, unchanged, so that a script may rely on its documentation. Tables are for
//! people: texts that come from elsewhere cannot steer the terminal.

use std::{
    fmt::{self, Write as _},
    io::{self, Write as _},
};

use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{error::Error, types::is_steering};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// A column: its title, and the JSON pointer to its value (RFC 6901).
pub(super) type Column = (&'static str, &'static str);

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    format: Format,
}

impl Output {
    pub(super) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether programs read it.
    pub(super) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// A page of a list, in the API's own shape or as a table.
    pub(super) fn list(self, items: &[Value], next_cursor: Option<&str>, columns: &[Column]) -> anyhow::Result<()> {
        match self.format {
            Format::Json => print_json(&json!({ "items": items, "next_cursor": next_cursor })),
            Format::Table if items.is_empty() => print("none"),
            Format::Table => print(table(items, columns)),
        }
    }

    /// One thing, a line a field.
    pub(super) fn record(self, item: &Value, fields: &[Column]) -> anyhow::Result<()> {
        match self.format {
            Format::Json => print_json(item),
            Format::Table => print(pairs(fields.iter().map(|(title, pointer)| (*title, cell(item.pointer(pointer)))))),
        }
    }

    /// Something that has a shape of its own in each form.
    pub(super) fn either(self, value: &impl Serialize, text: impl fmt::Display) -> anyhow::Result<()> {
        match self.format {
            Format::Json => print_json(value),
            Format::Table => print(text),
        }
    }
}

/// A line to standard error, beside the result.
pub(super) fn note(text: impl fmt::Display) {
    // There is nobody to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Why a command failed, with every field and cause that is known.
pub(super) fn failure(error: &anyhow::Error) {
    note(describe(error));
}

fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    if let Some(Error::Validation(fields)) = error.downcast_ref() {
        for field in fields {
            let _ = write!(text, "\n  {}: {}", field.field, field.message);
        }
    }
    for cause in error.chain().skip(1) {
        let _ = write!(text, "\n  caused by: {cause}");
    }
    text
}

/// Text to standard output.
pub(super) fn print(text: impl fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(serde_json::to_string_pretty(value)?)
}

/// Rows of `items`.
pub(super) fn table(items: &[Value], columns: &[Column]) -> String {
    let mut table = plain_table();
    table.set_header(columns.iter().map(|(title, _)| *title));
    for item in items {
        table.add_row(columns.iter().map(|(_, pointer)| cell(item.pointer(pointer))));
    }
    table.trim_fmt()
}

/// Names and values, aligned.
pub(super) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = plain_table();
    for (name, value) in pairs {
        table.add_row([name.to_owned(), value]);
    }
    table.trim_fmt()
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table
}

/// A value in a cell: texts as they are, absent ones as a hyphen, objects as `name=value`.
fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", "),
        Some(Value::Object(members)) => {
            let member = |(name, value): (&String, &Value)| format!("{name}={}", cell(Some(value)));
            members.iter().map(member).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    if text.is_empty() { "-".to_owned() } else { printable(&text) }
}

/// An object of a schema that differs: `-` what it should be, `+` what it is.
pub(super) fn difference(item: &Value) -> String {
    let part = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or("nothing");
    let lines = |name: &str| part(name).lines().map(printable).collect::<Vec<_>>().join("\n  ");
    format!("{}\n- {}\n+ {}", lines("object"), lines("expected"), lines("actual"))
}

/// The text without what could steer the terminal that shows it, or make it look like another one.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_steering(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FieldError;

    #[test]
    fn a_table_shows_what_the_pointers_name() {
        let items = [
            json!({ "name": "local-1", "labels": { "disk": "ssd" }, "zones": ["a", "b"], "region": null }),
            json!({ "name": "far\u{1b}[2J", "labels": {}, "zones": [], "cordoned": true }),
        ];
        let columns =
            [("NAME", "/name"), ("LABELS", "/labels"), ("ZONES", "/zones"), ("REGION", "/region"), ("C", "/cordoned")];
        let text = table(&items, &columns);
        let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["NAME", "LABELS", "ZONES", "REGION", "C"]);
        assert_eq!(rows[1], ["local-1", "disk=ssd", "a,", "b", "-", "-"]);
        assert_eq!(rows[2], ["far\u{fffd}[2J", "-", "-", "-", "true"], "no escape sequence passes");
    }

    #[test]
    fn a_failure_names_its_fields_and_causes() {
        let error = Error::from(FieldError::new("admin_url", "invalid_url", "must be a URL"));
        assert_eq!(
            describe(&error.into()),
            "error: 1 of the fields sent are not acceptable\n  admin_url: must be a URL"
        );
        let error = anyhow::Error::msg("no route to host").context("cannot reach Freehold");
        assert_eq!(describe(&error), "error: cannot reach Freehold\n  caused by: no route to host");
    }
}
