//! `freehold keys …`: the key-encryption keys.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    Outcome,
    client::Client,
    output::{self, Column, Output},
    progress::Progress,
};

const PATH: &str = "/platform/v1/keys";
/// After a call that found nothing it could do: another one is at work on what remains.
const PAUSE: Duration = Duration::from_secs(1);
/// How many such calls in a row mean that nobody is.
const IDLE_CALLS: u32 = 5;

const KEYS: [Column; 3] = [("KEY", "/id"), ("CONFIGURED", "/configured"), ("DATA KEYS", "/data_keys")];
const REPLICAS: [Column; 3] = [("REPLICA", "/name"), ("KEYS", "/keys"), ("SEEN", "/seen_at")];
const ROTATED: [Column; 3] = [("key", "/to"), ("rewrapped", "/rewrapped"), ("remaining", "/remaining")];

/// Looks after the key-encryption keys.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
To replace the key k1 by k2:
  1. FREEHOLD_KEY_ENCRYPTION_KEYS=k1:…,k2:… on every replica   (all of them can open what k2 wraps)
  2. FREEHOLD_KEY_ENCRYPTION_KEYS=k2:…,k1:… on every replica   (k2 wraps new data keys)
  3. freehold keys rotate
  4. a day later, when `freehold keys status` says 0 for k1: take it out")]
pub(super) enum Command {
    /// Tell which keys there are, how many data keys each wraps, and which replicas have them.
    Status,
    /// Wrap all data keys with one key.
    Rotate {
        /// The key that shall wrap them; else the active one of the replica that answers first.
        #[arg(long, value_name = "KEY")]
        to: Option<String>,
    },
}

pub(super) async fn run(command: Command, client: Client, output: Output) -> anyhow::Result<Outcome> {
    match command {
        Command::Status => status(&client.get(PATH, &[]).await?, output)?,
        Command::Rotate { to } => {
            let to = match to {
                Some(to) => to,
                None => active(&client).await?,
            };
            output.record(&rotate(&client, &to).await?, &ROTATED)?;
        }
    }
    Ok(Outcome::Success)
}

fn status(keys: &Value, output: Output) -> anyhow::Result<()> {
    let rows = |name: &str| keys.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    if output.is_json() {
        return output.record(keys, &[]);
    }
    output.list(&rows("keys"), None, &KEYS)?;
    output::print(format_args!("\n{}", output::table(&rows("replicas"), &REPLICAS)))
}

/// The key that wraps new data keys. Named from then on: while the replicas' settings are being changed, another one
/// would answer for another key.
async fn active(client: &Client) -> anyhow::Result<String> {
    let keys = client.get(PATH, &[]).await?;
    Ok(keys.get("active").and_then(Value::as_str).context("the answer names no active key")?.to_owned())
}

/// Asks until nothing remains; what all calls together did.
async fn rotate(client: &Client, to: &str) -> anyhow::Result<Value> {
    let body = json!({ "to": to });
    let mut progress = Progress::begin("wrapping data keys anew");
    let (mut total, mut idle) = (0, 0);
    loop {
        // Asking again does no harm: what is done is done.
        let path = format!("{PATH}/rotate");
        let done = Client::patiently(true, async || client.post(&path, &body, None).await).await?;
        let number = |name: &str| done.get(name).and_then(Value::as_u64).context("the answer holds no counts");
        let (rewrapped, remaining) = (number("rewrapped")?, number("remaining")?);
        total += rewrapped;
        progress.tell(&format!("wrapped {total} data keys anew; {remaining} remain"));
        if remaining == 0 {
            return Ok(json!({ "to": to, "rewrapped": total, "remaining": 0 }));
        }
        idle = if rewrapped == 0 { idle + 1 } else { 0 };
        if idle == IDLE_CALLS {
            bail!("{remaining} data keys are wrapped by keys that this Freehold does not have: freehold keys status");
        }
        if rewrapped == 0 {
            sleep(PAUSE).await;
        }
    }
}
