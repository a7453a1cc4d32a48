//! `dev.json` for programs and `dev.env` for shells: where everything is, and how to get in.
//!
//! Both are written last, when all that they speak of is ready, and are readable by their owner only.

use std::{fmt::Write as _, fs, io::ErrorKind, path::Path};

use anyhow::Context;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Variables,
    cluster::Cluster,
    credentials::write_private,
    demo::{DEMO_TENANTS, OPERATOR},
    environment::Environment,
    memory::Memory,
    seed::Seed,
    settings::{self, BASE_DOMAIN, Settings},
};

const JSON: &str = "dev.json";
const ENV: &str = "dev.env";

/// `dev.json`. Its shape is relied upon: members are added, never changed.
#[derive(Serialize)]
struct Description {
    public_url: String,
    admin_url: String,
    base_domain: &'static str,
    operator: Value,
    tenants: Vec<Value>,
    control: Value,
    servers: Vec<Value>,
    redis_url: Option<String>,
    object_store_url: String,
    mail_dir: String,
    pids: Map<String, Value>,
}

/// Takes away what an earlier run left.
pub(super) fn remove(folder: &Path) -> anyhow::Result<()> {
    for path in [JSON, ENV].map(|name| folder.join(name)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes both.
pub(super) fn write(
    environment: &Environment,
    settings: &Settings,
    memory: &Memory,
    seed: &Seed,
) -> anyhow::Result<()> {
    let folder = environment.folder();
    write_private(&folder.join(ENV), shell(&client_settings(settings, memory)).as_bytes())?;
    let description = describe(environment, settings, memory, seed)?;
    write_private(&folder.join(JSON), &serde_json::to_vec_pretty(&description)?)
}

fn describe(
    environment: &Environment,
    settings: &Settings,
    memory: &Memory,
    seed: &Seed,
) -> anyhow::Result<Description> {
    Ok(Description {
        public_url: settings.public_url(),
        admin_url: settings.admin_url(),
        base_domain: BASE_DOMAIN,
        operator: json!({
            "email": OPERATOR, "password": memory.operator.password, "api_key": memory.operator.api_key,
        }),
        tenants: tenants(memory),
        control: cluster(&environment.control, ("database_url", environment.control_url()?.expose_secret()), None)?,
        servers: vec![cluster(
            &environment.server,
            ("admin_url", environment.server_admin_url()?.expose_secret()),
            Some(&seed.server_id),
        )?],
        redis_url: match &environment.redis {
            Some(redis) => Some(redis.url()?.expose_secret().to_owned()),
            None => None,
        },
        object_store_url: settings::objects_url(environment)?,
        mail_dir: settings::mail_dir(environment)?.display().to_string(),
        pids: pids(environment),
    })
}

fn tenants(memory: &Memory) -> Vec<Value> {
    let known = DEMO_TENANTS.iter().filter_map(|demo| Some((demo, memory.tenants.get(demo.slug)?)));
    known
        .map(|(demo, tenant)| {
            json!({
                "slug": demo.slug, "id": tenant.id,
                "admin_email": demo.admin_email, "admin_password": tenant.admin_password,
            })
        })
        .collect()
}

/// A cluster, with the address that Freehold itself uses under its own name.
fn cluster(cluster: &Cluster, (name, url): (&str, &str), id: Option<&str>) -> anyhow::Result<Value> {
    let mut value = json!({
        name: url,
        "superuser_url": cluster.superuser_url()?.expose_secret(),
        "data_dir": cluster.data_dir().display().to_string(),
        "log_file": cluster.log_file().display().to_string(),
    });
    if let Some(id) = id {
        value["id"] = id.into();
        value["name"] = cluster.name().into();
    }
    Ok(value)
}

fn pids(environment: &Environment) -> Map<String, Value> {
    let postgres = |cluster: &Cluster| (format!("postgres_{}", cluster.name()), cluster.pid().into());
    Map::from_iter([
        ("freehold".to_owned(), std::process::id().into()),
        postgres(&environment.control),
        postgres(&environment.server),
        ("redis".to_owned(), environment.redis.as_ref().map(super::redis::Redis::pid).into()),
    ])
}

/// The replica's settings, for a second one, and what the command-line client reads.
fn client_settings(settings: &Settings, memory: &Memory) -> Variables {
    let mut pairs = settings.pairs.clone();
    pairs.insert("FREEHOLD_URL".to_owned(), settings.admin_url());
    pairs.extend(memory.operator.api_key.clone().map(|key| ("FREEHOLD_API_KEY".to_owned(), key)));
    pairs
}

/// Assignments that a POSIX shell reads back exactly: `set -a; . dev.env`.
fn shell(pairs: &Variables) -> String {
    pairs.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}='{}'", value.replace('\'', r"'\''"));
        text
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let values =
            ["plain", "with space", "it's", "$HOME `id` \\ \" # ! *", "two\nlines", "postgres://a:b@c/d?e=f&g"];
        let pairs: Variables =
            values.iter().enumerate().map(|(n, value)| (format!("FREEHOLD_V{n}"), (*value).to_owned())).collect();
        let print = r#"; printf '%s\0' "$FREEHOLD_V0" "$FREEHOLD_V1" "$FREEHOLD_V2" "$FREEHOLD_V3" "$FREEHOLD_V4" "$FREEHOLD_V5""#;
        let script = format!("set -a\n{}{}", shell(&pairs).trim_end(), print);
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        let read: Vec<_> = output.stdout.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        assert_eq!(read[..values.len()], values);
    }

    #[test]
    fn the_description_has_the_documented_members_in_their_order() {
        let description = Description {
            public_url: String::new(),
            admin_url: String::new(),
            base_domain: BASE_DOMAIN,
            operator: Value::Null,
            tenants: Vec::new(),
            control: Value::Null,
            servers: Vec::new(),
            redis_url: None,
            object_store_url: String::new(),
            mail_dir: String::new(),
            pids: Map::new(),
        };
        let text = serde_json::to_string(&description).unwrap();
        let expected = concat!(
            r#"{"public_url":"","admin_url":"","base_domain":"localhost","operator":null,"tenants":[],"control":null,"#,
            r#""servers":[],"redis_url":null,"object_store_url":"","mail_dir":"","pids":{}}"#
        );
        assert_eq!(text, expected);
    }
}
