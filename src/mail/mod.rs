//! Mail: what is said, how it is packed, and how it is sent.
//!
//! A [`Letter`] is made of two templates, a text and a page of HTML, by one function of [`Mailer`]. [`Mailer::send`]
//! packs it into a message and hands it to an SMTP server, or writes it into a folder on a developer's machine.
//!
//! Nobody who waits for an answer calls this: mails are sent by jobs. A job is repeated when it is unknown whether it was
//! done, so that a mail may be sent twice. Everything about it is the same each time, its `Message-ID` too, by which
//! programs that receive mail know the second one for the first.
//!
//! What is in a message comes from outside: a tenant's name, an address. None of it can become a header of its own, or a
//! tag: see [`letter`] and `message`. Neither addresses nor texts reach a log or an error.

mod account;
mod folder;
mod invitation;
mod letter;
mod link;
mod message;
mod settings;
mod smtp;

pub use account::{AboutAccount, Words};
use chrono::{DateTime, Utc};
pub use invitation::Invitation;
pub use letter::Letter;
pub use link::{Action, Link};
pub use settings::{Route, Sender, Settings, Smtp, Tls};

use crate::{
    error::Result,
    types::{Email, JobId},
};

/// Writes letters and sends them. Clones share everything.
#[derive(Clone)]
pub struct Mailer {
    sender: Sender,
    transport: Transport,
    templates: letter::Templates,
}

#[derive(Clone)]
enum Transport {
    Smtp(smtp::Transport),
    Folder(folder::Folder),
}

/// What became of a mail that was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The mail server has it.
    Accepted,
    /// The mail server refuses it, and will each time: this is why.
    Refused(String),
}

impl Mailer {
    /// Connects nowhere.
    ///
    /// # Errors
    /// The file with certificate authorities cannot be read.
    pub fn new(settings: &Settings) -> Result<Self> {
        let transport = match &settings.route {
            Route::Smtp(smtp) => Transport::Smtp(smtp::Transport::new(smtp, &settings.sender)?),
            Route::Folder(folder) => Transport::Folder(folder::Folder::new(folder.clone())),
        };
        Ok(Self { sender: settings.sender.clone(), transport, templates: letter::Templates::new()? })
    }

    /// Sends a letter on behalf of a job that was queued then.
    ///
    /// # Errors
    /// `mail_unavailable`: it is not known that the mail server has it, and another attempt may succeed.
    pub async fn send(&self, (job, queued_at): (JobId, DateTime<Utc>), to: &Email, letter: &Letter) -> Result<Sent> {
        let message = message::compose(&self.sender, to, (job, queued_at), letter)?;
        match &self.transport {
            Transport::Smtp(smtp) => smtp.send(&message).await,
            Transport::Folder(folder) => folder.write(job, &message).await.map(|()| Sent::Accepted),
        }
    }
}
