//! Reads named settings from the environment and the file, and gathers what is wrong with them.
//!
//! A [`Reader`] knows which names were asked for, so at the end it can tell which of those given are unknown.
//! It never repeats a value in an error: values may be secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    str::FromStr,
};

use secrecy::SecretString;

use crate::types::Invalid;

/// What the names of all settings begin with in the environment.
const PREFIX: &str = "FREEHOLD_";
/// Read by the command-line client or by scripts around Freehold, not by the server.
pub const CLIENT_NAMES: [&str; 3] = ["FREEHOLD_URL", "FREEHOLD_API_KEY", "FREEHOLD_CONFIG"];

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, as the environment spells it.
    pub key: String,
    /// What is wrong and what would be accepted; never holds the value.
    pub message: String,
}

/// Everything that is wrong with the configuration.
#[derive(Debug)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration is not usable:")?;
        for Problem { key, message } in &self.0 {
            write!(f, "\n  {key}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads settings and gathers problems. `'a` is the life of the environment it reads.
pub(super) struct Reader<'a> {
    environment: &'a BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    known: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(environment: &'a BTreeMap<String, String>, file: Option<&Path>) -> Result<Self, ConfigError> {
        let file = match file {
            Some(path) => read_file(path).map_err(|problem| ConfigError(vec![problem]))?,
            None => BTreeMap::new(),
        };
        Ok(Self { environment, file, known: BTreeSet::new(), problems: Vec::new() })
    }

    /// The value of `name` through `parse`; `default` when it is absent or wrong (then a problem is noted).
    pub(super) fn parsed<T>(&mut self, name: &str, default: T, parse: impl FnOnce(&str) -> Result<T, Invalid>) -> T {
        match self.text(name).map(|text| parse(&text)) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(invalid)) => {
                self.problem(name, invalid.message);
                default
            }
        }
    }

    /// The value of `name` through `FromStr`; `expected` says what would be accepted.
    pub(super) fn text_as<T: FromStr>(&mut self, name: &str, default: T, expected: &str) -> T {
        self.parsed(name, default, |text| {
            text.parse().map_err(|_| Invalid::new("invalid", format!("must be {expected}")))
        })
    }

    /// A number within `range`.
    pub(super) fn number(&mut self, name: &str, default: u32, range: std::ops::RangeInclusive<u32>) -> u32 {
        let expected = format!("must be a whole number from {} to {}", range.start(), range.end());
        self.parsed(name, default, |text| {
            text.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| Invalid::new("invalid", expected))
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, name: &str, default: bool) -> bool {
        self.text_as(name, default, "true or false")
    }

    /// A text that may be absent.
    pub(super) fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, Invalid>) -> Option<T> {
        self.parsed(name, None, |text| parse(text).map(Some))
    }

    /// A secret that may be absent. `check` must not keep or print what it is shown.
    pub(super) fn optional_secret(
        &mut self,
        name: &str,
        check: impl FnOnce(&str) -> Result<(), Invalid>,
    ) -> Option<SecretString> {
        self.optional(name, |text| check(text).map(|()| SecretString::from(text)))
    }

    /// Notes what is wrong with `name`.
    pub(super) fn problem(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(Problem { key: environment_name(name), message: message.into() });
    }

    /// The names that were asked for.
    #[cfg(test)]
    pub(super) fn known(&self) -> &BTreeSet<String> {
        &self.known
    }

    /// The problems found with the settings that were read.
    pub(super) fn problems(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError(self.problems)) }
    }

    /// The problems found, the unknown names among them.
    pub(super) fn finish(mut self) -> Result<(), ConfigError> {
        let unknown_variables = self.environment.keys().filter(|key| {
            let name = key.strip_suffix("_FILE").filter(|name| self.known.contains(*name)).unwrap_or(key);
            key.starts_with(PREFIX) && !self.known.contains(name) && !CLIENT_NAMES.contains(&key.as_str())
        });
        let unknown_in_file = self.file.keys().filter(|name| !self.known.contains(&environment_name(name)));
        let unknown: Vec<_> = unknown_variables.cloned().chain(unknown_in_file.cloned()).collect();
        for key in unknown {
            self.problems.push(Problem { key, message: "there is no such setting; see .env.example".to_owned() });
        }
        self.problems()
    }

    /// The text of `name`: the environment, the file that `NAME_FILE` names, the configuration file. Empty is absent.
    fn text(&mut self, name: &str) -> Option<String> {
        let variable = environment_name(name);
        let file_variable = format!("{variable}_FILE");
        self.known.insert(variable.clone());
        let direct = self.environment.get(&variable).filter(|text| !text.is_empty()).cloned();
        let path = self.environment.get(&file_variable).filter(|text| !text.is_empty());
        match (direct, path) {
            (Some(_), Some(_)) => {
                self.problem(name, format!("is given twice: set either {variable} or {file_variable}"));
                None
            }
            (Some(text), None) => Some(text),
            (None, Some(path)) => match std::fs::read_to_string(path) {
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    self.problem(name, format!("the file that {file_variable} names cannot be read: {error}"));
                    None
                }
            },
            (None, None) => self.unprefixed(name).or_else(|| self.file.get(name).cloned()),
        }
    }

    /// Platforms set `ENVIRONMENT` for all their programs: it counts where Freehold's own name is not set.
    fn unprefixed(&self, name: &str) -> Option<String> {
        self.environment.get("ENVIRONMENT").filter(|text| name == "environment" && !text.is_empty()).cloned()
    }
}

fn environment_name(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase())
}

/// The file's tables joined with `_`: `[public] listen = …` is `public_listen`.
fn read_file(path: &Path) -> Result<BTreeMap<String, String>, Problem> {
    let problem = |message: String| Problem { key: path.display().to_string(), message };
    let text = std::fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    // The error's own text quotes the line, which may hold a secret: only the position is told.
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
        problem(format!("is not valid TOML, line {line}"))
    })?;
    let mut flat = BTreeMap::new();
    flatten("", &table, &mut flat);
    Ok(flat)
}

fn flatten(prefix: &str, table: &toml::Table, flat: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}_{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, flat),
            toml::Value::Array(items) => {
                let texts: Vec<_> = items.iter().map(scalar).collect();
                flat.insert(name, texts.join(","));
            }
            other => {
                flat.insert(name, scalar(other));
            }
        }
    }
}

fn scalar(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Boolean(truth) => truth.to_string(),
        toml::Value::Datetime(time) => time.to_string(),
        // No setting is a table within an array.
        toml::Value::Array(_) | toml::Value::Table(_) => String::new(),
    }
}
