//! What a newcomer reads once everything is ready: where it is, how to sign in, what to try.

use std::fmt::{self, Write as _};

use super::{
    demo::{DEMO_TENANTS, OPERATOR},
    environment::Environment,
    memory::Memory,
    settings::Settings,
};

/// The banner. It shows the demo logins: they are worth nothing beyond this machine.
///
/// `example` is a path of the product's that a newcomer may try.
pub(super) fn text(
    environment: &Environment,
    settings: &Settings,
    memory: &Memory,
    example: Option<&str>,
) -> Result<String, fmt::Error> {
    let (public, admin) = (settings.public_url(), settings.admin_url());
    let mut text = String::new();
    writeln!(text, "\nFreehold is ready. Ctrl-C stops everything; the data stays.\n")?;
    writeln!(text, "  Tenants    {}", tenant_urls(settings))?;
    writeln!(text, "             API {public}/docs")?;
    writeln!(text, "  Operators  {admin}")?;
    writeln!(text, "             API {admin}/docs, metrics {admin}/metrics")?;
    writeln!(text, "\n  Sign in as")?;
    writeln!(text, "    operator  {OPERATOR}  {}", memory.operator.password)?;
    for demo in &DEMO_TENANTS {
        let password = memory.tenants.get(demo.slug).map_or("", |tenant| tenant.admin_password.as_str());
        writeln!(text, "    {:<8}  {}  {password}", demo.slug, demo.admin_email)?;
    }
    write_examples(&mut text, settings, memory, example)?;
    write_command(&mut text, environment)?;
    write_logs(&mut text, environment)?;
    Ok(text)
}

fn tenant_urls(settings: &Settings) -> String {
    DEMO_TENANTS.map(|demo| format!("http://{}", settings.host(demo.slug))).join("  ")
}

fn write_examples(text: &mut String, settings: &Settings, memory: &Memory, example: Option<&str>) -> fmt::Result {
    let Some(demo) = DEMO_TENANTS.first() else { return Ok(()) };
    let (public, host) = (settings.public_url(), settings.host(demo.slug));
    let host = host.split(':').next().unwrap_or_default();
    let password = memory.tenants.get(demo.slug).map_or("", |tenant| tenant.admin_password.as_str());
    writeln!(text, "\n  Try")?;
    writeln!(
        text,
        "    token=$(curl -s {public}/v1/auth/login -H 'Host: {host}' -H 'Content-Type: application/json' \\"
    )?;
    writeln!(
        text,
        "      -d '{{\"email\":\"{}\",\"password\":\"{password}\"}}' | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')",
        demo.admin_email
    )?;
    let path = example.unwrap_or("/v1/auth/me");
    writeln!(text, "    curl -s {public}{path} -H 'Host: {host}' -H \"Authorization: Bearer $token\"")
}

fn write_command(text: &mut String, environment: &Environment) -> fmt::Result {
    writeln!(text, "    set -a; . {}/dev.env; set +a", environment.folder().display())?;
    let program = std::env::current_exe().map_or_else(|_| "freehold".to_owned(), |path| path.display().to_string());
    writeln!(text, "    {program} tenant create initech --admin-email bill@initech.example")?;
    writeln!(text, "    {program} dev mail --folder {} last", environment.folder().display())
}

fn write_logs(text: &mut String, environment: &Environment) -> fmt::Result {
    writeln!(text, "\n  Logs       Freehold's here; PostgreSQL's in")?;
    for cluster in [&environment.control, &environment.server] {
        writeln!(text, "             {}", cluster.log_file().display())?;
    }
    if environment.redis.is_none() {
        writeln!(text, "\n  Redis is not installed: limits are counted by this replica alone.")?;
    }
    Ok(())
}
