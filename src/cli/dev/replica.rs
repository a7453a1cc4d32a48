//! The replica of a dev environment: this very process, from its first socket to its last request.

use anyhow::Context;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::{
    super::output,
    Variables, banner,
    demo::OPERATOR,
    environment::Environment,
    files,
    memory::Memory,
    seed::{self, Seed},
    settings::Settings,
};
use crate::{
    app::{App, Product},
    operations::bootstrap,
    telemetry::metrics::Metrics,
    types::{Clock, Random},
};

/// Serves until `stop`, and tells when everything is there to be tried.
pub(super) async fn run(
    product: &Product,
    environment: &Environment,
    variables: &Variables,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    // What they say is no longer true, and not true again yet.
    files::remove(environment.folder())?;
    let mut memory = Memory::load_or_make(environment.folder(), Random)?;
    let (settings, config, sockets) = Settings::bind(environment, variables, &memory).await?;
    let app = App::new(config, product.clone(), Metrics::install()?, Clock::default())?;
    let serving = tokio::spawn({
        let (app, stop) = (app.clone(), stop.clone());
        async move { app.serve(sockets, stop).await }
    });
    let preparing = Box::pin(prepare((&app, product), environment, &settings, &mut memory));
    let prepared = stop.run_until_cancelled(preparing).await;
    if matches!(prepared, Some(Err(_))) {
        stop.cancel();
    }
    let served = serving.await.context("the replica ended in a panic")?;
    // A replica that could not start is the cause; what it broke off is not.
    served?;
    prepared.unwrap_or(Ok(()))
}

async fn prepare(
    (app, product): (&App, &Product),
    environment: &Environment,
    settings: &Settings,
    memory: &mut Memory,
) -> anyhow::Result<()> {
    app.migrate_control().await?;
    let key = operator_key(app, environment, memory).await?;
    let seed: Seed = seed::run((environment, settings), memory, &key, product.seed).await?;
    files::write(environment, settings, memory, &seed)?;
    output::print(banner::text(environment, settings, memory, product.routes.example())?)
}

/// The first operator's API key: remembered, or made by this first run.
async fn operator_key(app: &App, environment: &Environment, memory: &mut Memory) -> anyhow::Result<String> {
    if let Some(key) = &memory.operator.api_key {
        return Ok(key.clone());
    }
    // Remembered before it is valid: a run that is killed in between loses nothing.
    let key = if let Some(key) = &memory.operator.coming_key {
        key.clone()
    } else {
        let key = bootstrap::new_key(&Clock::default(), Random).expose_secret().to_owned();
        memory.operator.coming_key = Some(key.clone());
        memory.save()?;
        key
    };
    let request = bootstrap::Request {
        server_url: environment.platform_admin_url()?,
        email: OPERATOR.parse()?,
        name: Some("Operator".parse()?),
        password: memory.operator.password.clone().into(),
        api_key: key.clone().into(),
    };
    bootstrap::run(app.operations(), request).await.context("start again with --reset")?;
    memory.operator.api_key = Some(key.clone());
    memory.save()?;
    Ok(key)
}
