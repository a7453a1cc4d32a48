//! What those who run Freehold see of it: logs, metrics and, behind its DSN, Sentry.
//!
//! [`start`] is called once, before the tokio runtime exists, and its [`Telemetry`] is kept until the process
//! ends. Configuration arrives as values; nothing here reads the environment. No secret, body, header or
//! personal data may leave through any of the three.

mod json;
mod logs;
pub mod meters;
pub mod metrics;
mod sentry;
mod writer;

pub use logs::{LogFormat, PANIC_TARGET, flush};

/// How this process tells about itself.
#[derive(Debug)]
pub struct Settings {
    /// `FREEHOLD_LOG`: a filter in the syntax of tracing-subscriber, `info,freehold=debug`.
    pub log_filter: String,
    /// `FREEHOLD_LOG_FORMAT`.
    pub log_format: LogFormat,
    /// Where defects are reported; none = nowhere.
    pub sentry_dsn: Option<secrecy::SecretString>,
    /// `production`, `staging`, …, as Sentry shows it.
    pub environment: String,
}

/// Keeps Sentry's transport alive, and flushes it and the log when the process ends.
#[must_use = "reports are lost once this is dropped"]
pub struct Telemetry {
    // Dropped in this order: what Sentry says at its end is logged.
    _sentry: Option<::sentry::ClientInitGuard>,
    _lines: LinesAtTheEnd,
}

/// Has all lines written when it is dropped.
struct LinesAtTheEnd;

impl Drop for LinesAtTheEnd {
    fn drop(&mut self) {
        flush();
    }
}

/// Begins logging and reporting.
///
/// # Errors
/// When the filter or the DSN cannot be understood, or logging has begun already.
pub fn start(settings: &Settings) -> anyhow::Result<Telemetry> {
    // Logs first: Sentry's panic hook calls the one that it finds, ours replaces the one that it finds.
    logs::start(&settings.log_filter, settings.log_format)?;
    let sentry = settings.sentry_dsn.as_ref().map(|dsn| sentry::start(dsn, &settings.environment)).transpose()?;
    Ok(Telemetry { _sentry: sentry, _lines: LinesAtTheEnd })
}
