//! `delayq run console`: the API and the page over the deployment's ports.

mod dead_letters;
mod operations;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use delayq_console::ConsolePorts;
use delayq_console::access::Access;
use delayq_console::live::Hub;
use delayq_console::oidc::{AlbSettings, Oidc, OidcSettings};
use delayq_core::clock::Clock;
use delayq_core::ports::RecordSink;
use delayq_delivery::upcoming::UpcomingCounts;
use delayq_kafka::{KafkaSink, SinkSettings};
use delayq_runtime::config::{Config, Secret};
use delayq_runtime::health::Health;
use delayq_runtime::http::listen;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::Backends;
use crate::cluster;
use crate::settings;
use operations::Deployed;

/// A console that listens, and answers once [`Console::serve`] runs.
pub struct Console {
    listener: TcpListener,
    routes: axum::Router,
    hub: Hub,
    upcoming: Arc<UpcomingCounts>,
    backends: Backends,
}

impl Console {
    /// Binds the socket and makes what it needs; calls nobody. `health`: what is shown as problems.
    ///
    /// # Errors
    /// The address is taken, forbidden or not this machine's; settings that no producer can be made of; single sign-on over TLS in a
    /// build without.
    pub async fn bind(
        config: &Config,
        backends: Backends,
        health: &Health,
    ) -> anyhow::Result<Self> {
        let listener = listen("console.listen", &config.console.listen).await?;
        let sink = SinkSettings {
            create_topics: backends.create_topics,
            ..settings::sink(config)
        };
        let kafka = cluster::kafka(config).await?;
        let sink: Arc<dyn RecordSink> = Arc::new(KafkaSink::new(&kafka, sink)?);
        let operations = Deployed {
            config: config.clone(),
            policy: settings::policy(config)?,
            sink,
            registry: backends.registry.clone(),
            shards: backends.shards.clone(),
            depths: backends.depths.clone(),
            clock: backends.clock.clone(),
            health: health.clone(),
        };
        let upcoming = Arc::new(UpcomingCounts::default());
        let ports = ConsolePorts {
            registry: backends.registry.clone(),
            index: backends.index.clone(),
            tallies: backends.tallies.clone(),
            upcoming: upcoming.clone(),
            operations: Arc::new(operations),
            clock: backends.clock.clone(),
        };
        let token = |token: &Option<Secret>| token.as_ref().map(|token| token.reveal().to_owned());
        let oidc =
            sign_on(config, backends.clock.clone()).context("single sign-on ([console.oidc])")?;
        let access = Access {
            viewer: token(&config.console.viewer_token),
            operator: token(&config.console.operator_token),
            oidc,
        };
        let hub = Hub::new(uuid::Uuid::new_v4().simple().to_string());
        let routes = delayq_console::routes(ports, hub.clone(), access, &config.topics.delay);
        Ok(Self {
            listener,
            routes,
            hub,
            upcoming,
            backends,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Answers until `stop`.
    ///
    /// # Errors
    /// The socket broke.
    pub async fn serve(self, stop: CancellationToken) -> anyhow::Result<()> {
        tracing::info!(address = %self.address()?, "the console is served");
        let (hub, feed, stopping) = (self.hub, self.backends.feed.clone(), stop.clone());
        let counting = self.backends.upcoming_writer(self.upcoming);
        let counting = tokio::spawn(counting.run(stop.clone()));
        let following = tokio::spawn(async move { hub.run(move || feed(), stopping).await });
        axum::serve(self.listener, self.routes)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
            .context("the console's socket")?;
        following.abort();
        counting.await.context("counting what comes due")
    }
}

/// Single sign-on, if it is configured. Asks nobody yet.
///
/// # Errors
/// An issuer over TLS in a build without.
pub(crate) fn sign_on(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Option<Oidc>> {
    let Some(oidc) = &config.console.oidc else {
        return Ok(None);
    };
    let settings = OidcSettings {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        audience: oidc.audience().to_owned(),
        roles_claim: oidc.roles_claim.clone(),
        operators: oidc.operators.clone(),
        viewers: oidc.viewers.clone(),
        scopes: oidc.scopes.clone(),
        alb: oidc
            .alb
            .clone()
            .zip(oidc.alb_keys_url())
            .map(|(arn, keys_url)| AlbSettings { arn, keys_url }),
    };
    Oidc::new(settings, clock)
        .map(Some)
        .map_err(anyhow::Error::msg)
}
