//! `freehold dev mail`: the mails that a dev environment has written instead of sending them.
//!
//! Reads the folder, and needs no running Freehold. It understands what Freehold writes, and is no reader of mails in
//! general.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::settings::MAIL;
use crate::cli::{
    Outcome,
    output::{self, Column, Output},
};

const COLUMNS: [Column; 4] = [("ID", "/id"), ("DATE", "/date"), ("TO", "/to"), ("SUBJECT", "/subject")];

/// The arguments of `freehold dev mail`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  freehold dev mail
  freehold dev mail last
  freehold dev mail job_0190b6a4c1e87d3f8a2b5c6d7e8f9012")]
pub(super) struct Arguments {
    /// Show this mail instead of listing all: its id, the beginning of it, or `last`.
    id: Option<String>,
}

/// A mail that was read.
struct Mail {
    id: String,
    date: String,
    to: String,
    subject: String,
    text: String,
}

impl Mail {
    fn to_json(&self, is_whole: bool) -> Value {
        let mut value = json!({ "id": self.id, "date": self.date, "to": self.to, "subject": self.subject });
        if let (true, Some(fields)) = (is_whole, value.as_object_mut()) {
            fields.insert("text".to_owned(), json!(self.text));
        }
        value
    }
}

pub(super) fn run(folder: &Path, arguments: &Arguments, output: Output) -> anyhow::Result<Outcome> {
    let mails = read(&folder.join(MAIL))?;
    let Some(id) = &arguments.id else {
        let items: Vec<_> = mails.iter().map(|mail| mail.to_json(false)).collect();
        output.list(&items, None, &COLUMNS)?;
        return Ok(Outcome::Success);
    };
    let found = if id == "last" { mails.last() } else { mails.iter().find(|mail| mail.id.starts_with(id.as_str())) };
    let Some(mail) = found else { bail!("there is no such mail: freehold dev mail lists them") };
    let text = mail.text.lines().map(output::printable).collect::<Vec<_>>().join("\n");
    let [to, subject] = [&mail.to, &mail.subject].map(|text| output::printable(text));
    output
        .either(&mail.to_json(true), format!("To:      {to}\nDate:    {}\nSubject: {subject}\n\n{text}", mail.date))?;
    Ok(Outcome::Success)
}

/// All mails of a folder, the oldest first: their ids are in the order of their jobs.
fn read(folder: &Path) -> anyhow::Result<Vec<Mail>> {
    let shown = || format!("there is no dev environment with mails at {}", folder.display());
    let mut mails = Vec::new();
    for entry in fs::read_dir(folder).with_context(shown)? {
        let path = entry?.path();
        let (Some(id), true) = (path.file_stem(), path.extension().is_some_and(|ending| ending == "eml")) else {
            continue;
        };
        let message = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        mails.push(parse(id.to_string_lossy().into_owned(), &message));
    }
    mails.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(mails)
}

fn parse(id: String, message: &str) -> Mail {
    let (head, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    let head = head.replace("\r\n ", " ");
    let field = |name: &str| decoded_words(header(&head, name));
    // The first part is the text.
    let part = header(&head, "Content-Type").split_once("boundary=\"").and_then(|(_, rest)| {
        let delimiter = format!("--{}", rest.split('"').next()?);
        body.split(delimiter.as_str()).nth(1)
    });
    let (head, body) = part.and_then(|part| part.trim_start().split_once("\r\n\r\n")).unwrap_or_default();
    let text = match header(head, "Content-Transfer-Encoding") {
        "quoted-printable" => unquoted(&body.replace("=\r\n", "")),
        "base64" => unbased(&body.replace("\r\n", "")),
        _ => body.to_owned(),
    };
    Mail {
        id,
        date: field("Date"),
        to: field("To"),
        subject: field("Subject"),
        text: text.trim_end().replace('\r', ""),
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_default().trim()
}

/// RFC 2047, as far as Freehold writes it: words of UTF-8 in base64.
fn decoded_words(text: &str) -> String {
    let mut decoded = String::new();
    let mut was_encoded = false;
    for word in text.split(' ') {
        let lower = word.get(..10).map(str::to_ascii_lowercase);
        let encoded =
            word.get(10..).and_then(|rest| rest.strip_suffix("?=")).filter(|_| lower.as_deref() == Some("=?utf-8?b?"));
        // Space between two encoded words is none.
        let is_joined = was_encoded && encoded.is_some();
        if !decoded.is_empty() && !is_joined {
            decoded.push(' ');
        }
        was_encoded = encoded.is_some();
        decoded.push_str(&encoded.map_or_else(|| word.to_owned(), unbased));
    }
    decoded
}

fn unbased(text: &str) -> String {
    String::from_utf8_lossy(&BASE64_STANDARD.decode(text.trim()).unwrap_or_default()).into_owned()
}

fn unquoted(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let byte = (*first == b'=').then(|| after.get(..2)).flatten();
        let byte = byte.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mail::{Invitation, Mailer, Route, Settings},
        types::{Clock, JobId, Random},
    };

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        let folder = std::env::temp_dir().join(format!("freehold-mail-{}", Random.token()));
        fs::create_dir(&folder).unwrap();
        let sender = "Freehold <no-reply@example.com>".parse().unwrap();
        let mailer = Mailer::new(&Settings { sender, route: Route::Folder(folder.clone()) }).unwrap();
        let clock = Clock::default();
        let link = format!("https://acme.example.com/account/accept-invitation#token={}", Random.token());
        let mut jobs = Vec::new();
        for tenant in ["Acme", "Ünïcødé & Søns, a name that is long enough to be folded over several lines ✓"] {
            let about = Invitation { tenant, link: &link, expires_at: clock.now() };
            let (job, to) = (JobId::generate(&clock, Random), "ada@example.org".parse().unwrap());
            // The second time it takes the place of the first.
            for _ in 0..2 {
                mailer.send((job, clock.now()), &to, &mailer.invitation(&about).unwrap()).await.unwrap();
            }
            jobs.push((job.to_string(), tenant));
        }
        let mails = read(&folder).unwrap();
        assert_eq!(mails.len(), 2);
        for (mail, (id, tenant)) in mails.iter().zip(&jobs) {
            assert_eq!((&mail.id, mail.to.as_str()), (id, "ada@example.org"));
            assert_eq!(mail.subject, format!("You are invited to join {tenant}"));
            assert!(mail.text.contains(&link) && mail.text.contains(tenant), "{}", mail.text);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
