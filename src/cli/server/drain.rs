//! What `freehold server drain` prints.

use serde_json::Value;

use super::super::output::{self, Column, Output};

const SUMMARY: [Column; 4] =
    [("SERVER", "/server/name"), ("TENANTS", "/count"), ("BYTES", "/bytes"), ("WITHOUT PLACE", "/left")];
const TENANTS: [Column; 3] = [("TENANT", "/slug"), ("ID", "/id"), ("BYTES", "/bytes")];
const FITS: [Column; 2] = [("WOULD FIT ON", "/server"), ("TENANTS", "/tenants")];

/// Who would have to leave, and where they would fit.
pub(super) fn print(drained: &Value, output: Output) -> anyhow::Result<()> {
    output.record(drained, &SUMMARY)?;
    if output.is_json() {
        return Ok(());
    }
    for (list, columns) in [("tenants", &TENANTS[..]), ("fits", &FITS[..])] {
        let items = drained.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if !items.is_empty() {
            output::print(format_args!("\n{}", output::table(items, columns)))?;
        }
    }
    Ok(())
}
