//! Logs: one event a line to standard error, as JSON for machines or coloured text for people.
//!
//! Fields of a request (`request.id`, `tenant.id`, …) come from its span, which the HTTP layer opens. Panics
//! of every task pass through here too, so that no output breaks the format. Lines are written off every request's path
//! ([`super::writer`]).

use std::{
    io::{self, IsTerminal},
    panic,
    sync::OnceLock,
};

use anyhow::Context as _;
use sentry::integrations::tracing::{BreadcrumbLayer, ErrorLayer};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{self, MakeWriter},
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::{json::JsonLines, writer::Lines};

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people at a terminal.
    Pretty,
}

/// What no filter lets pass: where the libraries write down what PostgreSQL's messages say, which may be customers'
/// data (the text of a RAISE in a trigger), and the values that statements are sent with.
const NEVER: [&str; 5] = [
    "tokio_postgres=off",
    "tokio_postgres::connection=off",
    "tokio_postgres::query=off",
    "tokio_postgres::prepare=off",
    "sqlx::postgres::notice=off",
];

/// The target of panics. Sentry's own hook has reported these already, with a better stack trace.
pub const PANIC_TARGET: &str = "freehold::panic";

/// The lines of this process, for whoever ends it out of order.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Installs the subscriber and the panic hook of this process.
pub(super) fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let colours = io::stderr().is_terminal();
    let lines = Lines::to(io::stderr()).context("log lines cannot be written")?;
    subscriber(filter, format, colours, lines.clone())?.try_init().context("logging has begun already")?;
    panic::set_hook(Box::new(log_panic));
    // There is one, or logging would have begun already.
    LINES.get_or_init(|| lines);
    Ok(())
}

/// Waits until every line so far is written, a second at most.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// One filter for the lines and for Sentry: with a filter each, the lines lose events that only Sentry's lets pass.
fn subscriber<W>(filter: &str, format: LogFormat, colours: bool, writer: W) -> anyhow::Result<impl SubscriberInitExt>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let mut filter = EnvFilter::try_new(filter).context("the log filter cannot be understood")?;
    for directive in NEVER {
        filter = filter.add_directive(directive.parse().context("a built-in log directive cannot be understood")?);
    }
    let lines = match format {
        LogFormat::Json => fmt::layer().fmt_fields(JsonLines).event_format(JsonLines).with_writer(writer).boxed(),
        LogFormat::Pretty => fmt::layer().with_target(false).with_ansi(colours).with_writer(writer).boxed(),
    };
    Ok(tracing_subscriber::registry().with(lines).with(Reports::default()).with(filter))
}

/// What Sentry is told. Without a client both do nothing.
#[derive(Default)]
struct Reports {
    errors: ErrorLayer,
    breadcrumbs: BreadcrumbLayer,
}

impl<S> Layer<S> for Reports
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    /// An error is by definition a defect of ours; what led to it goes along.
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if sentry::Hub::current().client().is_none() {
            return;
        }
        match *event.metadata().level() {
            Level::ERROR if event.metadata().target() != PANIC_TARGET => self.errors.on_event(event, context),
            Level::WARN | Level::INFO => self.breadcrumbs.on_event(event, context),
            _ => {}
        }
    }
}

fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("a panic without words");
    tracing::error!(target: PANIC_TARGET, { panic.location = location, panic.message = message }, "a task panicked");
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Sink {
        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_level_that_the_filter_lets_pass_is_written() {
        for format in [LogFormat::Json, LogFormat::Pretty] {
            for (filter, expected) in [("error", 1), ("warn", 2), ("info", 3), ("info,freehold=debug", 4)] {
                let sink = Sink::default();
                let writer = sink.clone();
                let _guard = subscriber(filter, format, false, move || writer.clone()).unwrap().set_default();
                tracing::error!(target: "freehold::test", "marker");
                tracing::warn!(target: "freehold::test", "marker");
                tracing::info!(target: "freehold::test", "marker");
                tracing::debug!(target: "freehold::test", "marker");
                let written = sink.text();
                assert_eq!(written.matches("marker").count(), expected, "{filter}: {written}");
            }
        }
    }

    #[test]
    fn what_postgresql_says_is_not_written_whatever_the_filter() {
        for filter in ["info", "trace", "trace,tokio_postgres=trace,tokio_postgres::query=trace"] {
            let sink = Sink::default();
            let writer = sink.clone();
            let _guard = subscriber(filter, LogFormat::Json, false, move || writer.clone()).unwrap().set_default();
            tracing::info!(target: "tokio_postgres::connection", "WARNING: marker");
            tracing::debug!(target: "tokio_postgres::query", "executing statement with parameters: marker");
            tracing::warn!(target: "sqlx::postgres::notice", "marker");
            let written = sink.text();
            assert!(!written.contains("marker"), "{filter}: {written}");
        }
    }
}
