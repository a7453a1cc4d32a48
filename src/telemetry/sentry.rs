//! Sentry: hears of defects (log level error) and of panics, when a DSN is configured.
//!
//! Reports carry a stack trace, the route and the request's id; never a body, header, cookie, address, host
//! name or user: [`scrub`] takes out what an integration may have put in.

use std::str::FromStr;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use sentry::{ClientInitGuard, ClientOptions, protocol::Event, types::Dsn};

/// Connects to Sentry. Must run before the tokio runtime is built: its threads inherit the client.
pub(super) fn start(dsn: &SecretString, environment: &str) -> anyhow::Result<ClientInitGuard> {
    // The parser's error repeats the DSN, which is a secret: it is dropped.
    let dsn = Dsn::from_str(dsn.expose_secret()).ok().context("the Sentry DSN cannot be understood")?;
    let mut options = ClientOptions::new()
        .release(concat!("freehold@", env!("CARGO_PKG_VERSION")))
        .environment(environment.to_owned())
        .send_default_pii(false)
        .before_send(|event| Some(scrub(event)));
    options.dsn = Some(dsn);
    Ok(sentry::init(options))
}

fn scrub(mut event: Event<'static>) -> Event<'static> {
    event.request = None;
    event.user = None;
    event.server_name = None;
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_neither_request_nor_user_nor_machine() {
        let event = scrub(Event {
            request: Some(sentry::protocol::Request { cookies: Some("session=1".into()), ..Default::default() }),
            user: Some(sentry::User { email: Some("ada@example.com".into()), ..Default::default() }),
            server_name: Some("db-7".into()),
            ..Default::default()
        });
        assert!(event.request.is_none() && event.user.is_none() && event.server_name.is_none());
    }
}
