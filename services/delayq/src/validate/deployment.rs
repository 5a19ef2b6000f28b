//! What is validated: a deployment that runs, or one that is made for the purpose.

use anyhow::Context as _;
use delayq_runtime::config::{Config, Sources, load};
use delayq_runtime::health::Health;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::console::Console;
use crate::embedded::{EmbeddedKafka, EmbeddedTiers};
use crate::role::Role;
use crate::settings;

/// The target of a deployment of its own.
const TARGET: &str = "validated";
/// How long a start may take: a consumer group of the embedded broker needs some seconds.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a stop may take: sockets that are open keep the console's end.
const STOP_MAX: Duration = Duration::from_secs(30);

/// A deployment.
pub(super) struct Subject {
    pub(super) config: Config,
    pub(super) target: String,
    pub(super) console: String,
    pub(super) token: Option<String>,
    own: Option<Own>,
}

struct Own {
    /// Runs until it is dropped.
    _kafka: EmbeddedKafka,
    roles: JoinHandle<anyhow::Result<()>>,
    console: JoinHandle<anyhow::Result<()>>,
}

impl Subject {
    pub(super) fn running(
        config: Config,
        console: &str,
        token: Option<String>,
        target: String,
    ) -> Self {
        Self {
            config,
            target,
            console: console.trim_end_matches('/').to_owned(),
            token,
            own: None,
        }
    }

    pub(super) async fn of_its_own(stop: CancellationToken) -> anyhow::Result<Self> {
        let kafka = EmbeddedKafka::start("127.0.0.1:0").await?;
        let mut set: Vec<String> = settings::COMPRESSED.map(str::to_owned).into();
        set.extend([
            format!("kafka.bootstrap_servers={}", kafka.address()),
            "kafka.session_timeout=6s".to_owned(),
            "kafka.revoke_timeout=5s".to_owned(),
            "kafka.properties.fetch.wait.max.ms=10".to_owned(),
            format!("topics.allow={TARGET}"),
            "canary.enabled=false".to_owned(),
            "console.listen=127.0.0.1:0".to_owned(),
        ]);
        let config = load(&Sources {
            set,
            ..Sources::default()
        })?;
        kafka.create_topics(&config, &[TARGET.to_owned()])?;
        let (tiers, health) = (EmbeddedTiers::default(), Health::new());
        let console = Console::bind(&config, tiers.backends(), &health).await?;
        let address = console.address()?;
        let roles = {
            let (config, backends) = (config.clone(), tiers.backends());
            let (health, stop) = (health.clone(), stop.clone());
            tokio::spawn(
                async move { app::run_on(&config, &Role::ALL, backends, health, stop).await },
            )
        };
        let console = tokio::spawn(console.serve(stop));
        let until = Instant::now() + START_MAX;
        while !health.readiness().ready {
            anyhow::ensure!(
                Instant::now() < until && !roles.is_finished(),
                "the deployment was not ready after {} s: {}",
                START_MAX.as_secs(),
                serde_json::to_string(&health.readiness())?
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            config,
            target: TARGET.to_owned(),
            console: format!("http://{address}"),
            token: None,
            own: Some(Own {
                _kafka: kafka,
                roles,
                console,
            }),
        })
    }

    /// Waits for the end of a deployment of its own, which has been told to stop.
    pub(super) async fn ended(self) -> anyhow::Result<()> {
        let Some(own) = self.own else {
            return Ok(());
        };
        let roles = tokio::time::timeout(STOP_MAX, own.roles).await;
        roles
            .context("the roles did not stop in time")?
            .context("a role panicked")??;
        own.console.abort();
        Ok(())
    }
}
