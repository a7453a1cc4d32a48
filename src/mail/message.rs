//! A letter as a message (RFC 5322): headers, and the text and the page as alternatives.
//!
//! The addresses are parsed values, the subject is encoded (RFC 2047), and nothing else of a header comes from outside.
//! The same job makes the same message, byte for byte.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use lettre::{
    Address, Message,
    address::Envelope,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};

use super::{Letter, Sender};
use crate::{
    error::{Error, Result},
    types::{DisplayName, Email, JobId},
};

/// The largest message. Ours are some kilobytes; mail servers take a hundred times as much.
const LARGEST: usize = 256 * 1_024;

/// A message, and from whom and to whom it goes.
pub(super) struct Packed {
    pub(super) envelope: Envelope,
    pub(super) bytes: Vec<u8>,
}

/// Packs a letter, on behalf of a job that was queued then.
pub(super) fn compose(
    sender: &Sender,
    to: &Email,
    (job, queued_at): (JobId, DateTime<Utc>),
    letter: &Letter,
) -> Result<Packed> {
    let from = mailbox(sender.name.as_ref(), &sender.address)?;
    let name = job.uuid().simple();
    let parts = MultiPart::alternative().boundary(format!("part-{name}"));
    let parts =
        parts.singlepart(SinglePart::plain(letter.text.clone())).singlepart(SinglePart::html(letter.html.clone()));
    // RFC 3834: programs that answer mails leave it alone.
    let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
    let message = Message::builder()
        .message_id(Some(format!("<{name}@{}>", from.email.domain())))
        .date(SystemTime::from(queued_at))
        .from(from)
        .to(mailbox(None, to)?)
        .subject(letter.subject.clone())
        .raw_header(automatic)
        .multipart(parts)
        .map_err(Error::internal)?;
    let bytes = message.formatted();
    if bytes.len() > LARGEST {
        return Err(Error::defect(format!("a mail of {} bytes is too large", bytes.len())));
    }
    Ok(Packed { envelope: message.envelope().clone(), bytes })
}

fn mailbox(name: Option<&DisplayName>, address: &Email) -> Result<Mailbox> {
    // Its error would repeat the address.
    let refused = |_| Error::defect("an address is none for the library that packs mails");
    let (user, domain) = address.as_str().rsplit_once('@').ok_or_else(|| Error::defect("an address lacks its @"))?;
    let address = Address::new(user, domain).map_err(refused)?;
    Ok(Mailbox::new(name.map(|name| name.as_str().to_owned()), address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mail::{Invitation, Mailer, Route, Settings},
        types::{Clock, Random},
    };

    fn mailer() -> Mailer {
        let sender = "Acme, \"the\" Inc. <no-reply@example.com>".parse().unwrap();
        Mailer::new(&Settings { sender, route: Route::Folder("/nowhere".into()) }).unwrap()
    }

    fn packed(tenant: &str, job: JobId) -> String {
        let (mailer, at) = (mailer(), DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let about = Invitation { tenant, link: "https://acme.example.com/#token=a_b-c", expires_at: at };
        let letter = mailer.invitation(&about).unwrap();
        let packed = compose(&mailer.sender, &"ada@example.org".parse().unwrap(), (job, at), &letter).unwrap();
        assert_eq!(packed.envelope.to().len(), 1);
        String::from_utf8(packed.bytes).unwrap()
    }

    /// The names of its headers, and what they hold.
    fn headers(message: &str) -> Vec<(&str, &str)> {
        let (head, _) = message.split_once("\r\n\r\n").unwrap();
        head.split("\r\n")
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split_once(": ").unwrap())
            .collect()
    }

    #[test]
    fn the_same_job_makes_the_same_message() {
        let (one, other) = (JobId::generate(&Clock::default(), Random), JobId::generate(&Clock::default(), Random));
        assert_eq!(packed("Acme", one), packed("Acme", one));
        let id = |message: &str| {
            let all = headers(message).into_iter().filter(|(name, _)| *name == "Message-ID").collect::<Vec<_>>();
            assert_eq!(all.len(), 1);
            all[0].1.to_owned()
        };
        assert_eq!(id(&packed("Acme", one)), format!("<{}@example.com>", one.uuid().simple()));
        assert_ne!(id(&packed("Acme", one)), id(&packed("Acme", other)));
    }

    #[test]
    fn nobodys_name_becomes_a_header_or_a_tag() {
        let job = JobId::generate(&Clock::default(), Random);
        let expected: Vec<_> = headers(&packed("Acme", job)).iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(expected.len(), 8, "{expected:?}");
        for hostile in [
            "Acme\r\nBcc: eve@example.net",
            "Acme\nSubject: won\n\n<html>",
            "Acme\rX: y",
            "\u{2028}Bcc: eve@example.net",
            "\r\n.\r\nMAIL FROM:<eve@example.net>",
            "=?utf-8?q?a=0D=0ABcc:_eve@example.net?=",
            "<script>alert(1)</script> & {{ link }} {% raw %}",
            "Ünïcødé ✓\r\nBcc: eve@example.net",
        ] {
            let message = packed(hostile, job);
            let names: Vec<_> = headers(&message).iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(names, expected, "{hostile:?}");
            assert!(!message.contains("\r\n.\r\n"), "{hostile:?}");
        }
        let letter = mailer()
            .invitation(&Invitation { tenant: "<b>\"&", link: "https://a.example", expires_at: DateTime::default() })
            .unwrap();
        assert!(letter.html.contains("&lt;b&gt;") && !letter.html.contains("<b>"), "{}", letter.html);
        assert!(letter.text.contains("join <b>\"&."), "{}", letter.text);
    }
}
