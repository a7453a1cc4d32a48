//! One JSON object a line, put together from texts: the fields of a span are written down once, when they become known,
//! and copied into each of its lines.
//!
//! Members are `timestamp`, `level`, the event's own fields, `target`, and `span` with the fields and the name of the
//! innermost span. What is first recorded for a field of a span stays.

use std::{
    error::Error,
    fmt::{self, Debug, Write},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::Record,
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// What the `log` crate's events, which have one target for all, are told apart by.
const LOG_TARGET: &str = "log.target";

/// Formats events and the fields of spans.
pub(super) struct JsonLines;

impl<S> FormatEvent<S, JsonLines> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, JsonLines>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        out.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut out)?;
        write!(out, "\",\"level\":\"{}\"", event.metadata().level())?;
        let mut members = Members::to(out.by_ref(), false);
        event.record(&mut members);
        let Members { log_target, outcome, .. } = members;
        outcome?;
        out.write_str(",\"target\":")?;
        string(&mut out, log_target.as_deref().unwrap_or(event.metadata().target()))?;
        if let Some(span) = event.parent().and_then(|id| ctx.span(id)).or_else(|| ctx.lookup_current()) {
            out.write_str(",\"span\":{")?;
            if let Some(fields) = span.extensions().get::<FormattedFields<JsonLines>>().filter(|f| !f.is_empty()) {
                write!(out, "{},", fields.fields)?;
            }
            out.write_str("\"name\":")?;
            string(&mut out, span.name())?;
            out.write_char('}')?;
        }
        out.write_str("}\n")
    }
}

impl<'w> FormatFields<'w> for JsonLines {
    fn format_fields<R: RecordFields>(&self, out: Writer<'w>, fields: R) -> fmt::Result {
        let mut members = Members::to(out, true);
        fields.record(&mut members);
        members.outcome
    }

    fn add_fields(&self, known: &'w mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        let (mut more, is_first) = (String::new(), known.fields.is_empty());
        let mut members = Members::to(Writer::new(&mut more), is_first);
        members.known = &known.fields;
        fields.record(&mut members);
        members.outcome?;
        known.fields.push_str(&more);
        Ok(())
    }
}

/// Writes fields as members of an object.
struct Members<'w> {
    out: Writer<'w>,
    is_first: bool,
    /// The members that are there already.
    known: &'w str,
    log_target: Option<String>,
    outcome: fmt::Result,
}

impl<'w> Members<'w> {
    fn to(out: Writer<'w>, is_first: bool) -> Self {
        Self { out, is_first, known: "", log_target: None, outcome: Ok(()) }
    }

    fn member(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let is_known = !self.known.is_empty() && self.known.contains(&format!("\"{}\":", field.name()));
        if self.outcome.is_ok() && !is_known {
            self.outcome = self.write(field.name(), value);
        }
    }

    fn write(&mut self, name: &str, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) -> fmt::Result {
        if !self.is_first {
            self.out.write_char(',')?;
        }
        self.is_first = false;
        string(&mut self.out, name.trim_start_matches("r#"))?;
        self.out.write_char(':')?;
        value(&mut self.out)
    }
}

impl Visit for Members<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no other numbers.
        self.member(field, |out| if value.is_finite() { write!(out, "{value:?}") } else { out.write_str("null") });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |out| write!(out, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == LOG_TARGET {
            self.log_target = Some(value.to_owned());
        }
        self.member(field, |out| string(out, value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.member(field, |out| quoted(out, format_args!("{value}")));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.member(field, |out| quoted(out, format_args!("{value:?}")));
    }
}

fn string(out: &mut impl Write, text: &str) -> fmt::Result {
    quoted(out, format_args!("{text}"))
}

fn quoted(out: &mut impl Write, text: fmt::Arguments<'_>) -> fmt::Result {
    out.write_char('"')?;
    Escaped(out).write_fmt(text)?;
    out.write_char('"')
}

/// Escapes what may not stand in a JSON string (RFC 8259 §7).
struct Escaped<'a, W>(&'a mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, byte) in text.bytes().enumerate().filter(|(_, byte)| matches!(byte, b'"' | b'\\' | 0..0x20)) {
            self.0.write_str(&text[plain..at])?;
            match byte {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                control => write!(self.0, "\\u{control:04x}")?,
            }
            plain = at + 1;
        }
        self.0.write_str(&text[plain..])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tracing::field::Empty;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::telemetry::logs::tests::Sink;

    fn lines(log: impl FnOnce()) -> Vec<Value> {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer().fmt_fields(JsonLines).event_format(JsonLines);
        let subscriber = tracing_subscriber::registry().with(layer.with_writer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
        sink.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_kind_of_value_is_written_as_json() {
        let text = "a \"quoted\" \\ line\nand \u{1} more: ü";
        let lines = lines(|| {
            let cause = std::io::Error::other("out of\tink");
            let error: &(dyn Error + 'static) = &cause;
            tracing::info!(
                { text = text, whole = -1, big = u64::MAX, part = 0.5, none = f64::NAN, yes = true, error, shown = %text,
                  debug = ?Some("x"), missing = Option::<u8>::None },
                "a {}", "message"
            );
        });
        let mut line = lines.into_iter().next().unwrap();
        let timestamp = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(timestamp.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().is_ok(), "{timestamp}");
        let expected = json!({
            "level": "INFO", "message": "a message", "target": module_path!(), "text": text, "whole": -1, "big": u64::MAX,
            "part": 0.5, "none": null, "yes": true, "error": "out of\tink", "shown": text, "debug": "Some(\"x\")",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_line_has_the_fields_of_its_span_once_they_are_known() {
        let lines = lines(|| {
            let span = tracing::info_span!("request", a = "x", b = Empty, c = Empty);
            span.in_scope(|| tracing::info!("before"));
            span.record("b", 7);
            span.record("c", "y");
            span.record("c", "z");
            span.in_scope(|| tracing::info!("after"));
            tracing::info_span!("plain").in_scope(|| tracing::info!("within"));
            tracing::info!("outside");
        });
        let spans: Vec<_> = lines.iter().map(|line| line["span"].clone()).collect();
        let expected = [
            json!({ "name": "request", "a": "x" }),
            json!({ "name": "request", "a": "x", "b": 7, "c": "y" }),
            json!({ "name": "plain" }),
            Value::Null,
        ];
        assert_eq!(spans, expected);
    }
}
