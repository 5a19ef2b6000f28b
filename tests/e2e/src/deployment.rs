//! A delayq of its own for each test: random names on the shared stack, times compressed to seconds.

use std::sync::Once;

use delayq::app;
use delayq::role::Role;
use delayq::settings::COMPRESSED;
use delayq_runtime::config::{Config, Sources, load};
use delayq_runtime::health::Health;
use delayq_stack::{Endpoints, Stack, StackOptions};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The stack that all tests of one binary share. It ends with the process.
pub async fn stack() -> &'static Stack {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    static LOGS: Once = Once::new();
    LOGS.call_once(|| {
        let filter = std::env::var("DELAYQ_TEST_LOG").unwrap_or_else(|_| "error".into());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    });
    STACK
        .get_or_init(|| async {
            Stack::from_env_or_start(StackOptions::default())
                .await
                .expect("the stack starts")
        })
        .await
}

/// A stack for a test that kills parts of it. `None`, said aloud, where endpoints are given from outside: those are not
/// ours to kill.
pub async fn own_stack() -> Option<Stack> {
    let stack = Stack::from_env_or_start(StackOptions::default())
        .await
        .expect("the stack starts");
    if !stack.is_ours() {
        eprintln!("skipped: the stack named by DELAYQ_STACK_… cannot be killed");
        return None;
    }
    Some(stack)
}

/// Topics, queues and tables of one test.
pub struct Deployment {
    /// Its configuration.
    pub config: Config,
    /// Prefix of all its names.
    pub prefix: String,
}

/// Beside the compressed times: a broker that is killed is noticed, and found again, within a test's patience.
const OUTAGES: [&str; 3] = [
    "kafka.session_timeout=10s",
    "kafka.revoke_timeout=6s",
    "publish.breaker_probe=200ms",
];

impl Deployment {
    /// On the shared stack, with these `section.field=value` settings on top.
    pub async fn new(settings: &[&str]) -> Self {
        Self::on(stack().await.endpoints(), settings)
    }

    /// On a stack of the test's own.
    pub fn on(endpoints: &Endpoints, settings: &[&str]) -> Self {
        let prefix = format!("t{}", &uuid::Uuid::new_v4().simple().to_string()[..10]);
        let mut overrides: Vec<String> = COMPRESSED.map(str::to_owned).into();
        overrides.extend(OUTAGES.map(str::to_owned));
        overrides.extend([
            format!("kafka.bootstrap_servers={}", endpoints.kafka),
            format!("kafka.group_id={prefix}-router"),
            format!("topics.delay={prefix}.delay"),
            format!("topics.dead_letter={prefix}.dead"),
            format!("topics.allow={prefix}.out*"),
            // Only what a test sends is in its topics, unless it asks for canaries.
            "canary.enabled=false".to_owned(),
            format!("canary.topic={prefix}.canary"),
            format!("aws.sqs_endpoint={}", endpoints.sqs),
            format!("aws.dynamodb_endpoint={}", endpoints.dynamodb),
            format!("aws.prefix={prefix}"),
        ]);
        overrides.extend(settings.iter().map(ToString::to_string));
        let config = load(&Sources {
            set: overrides,
            ..Sources::default()
        })
        .expect("a valid configuration");
        Self { config, prefix }
    }

    /// Creates what it needs.
    pub async fn init(&self, targets: &[&str]) {
        let targets: Vec<_> = targets.iter().map(|t| self.target(t)).collect();
        app::init(&self.config, &targets).await.expect("init");
    }

    /// The full name of a target.
    pub fn target(&self, name: &str) -> String {
        format!("{}.out-{name}", self.prefix)
    }

    /// Starts a replica of these roles.
    pub fn start(&self, roles: &[Role]) -> Replica {
        let stop = CancellationToken::new();
        let health = Health::new();
        let (config, roles, token, seen) = (
            self.config.clone(),
            roles.to_vec(),
            stop.clone(),
            health.clone(),
        );
        let task = tokio::spawn(async move { app::run(&config, &roles, seen, token).await });
        Replica { stop, health, task }
    }

    /// Starts a replica of these roles over other backends than the configuration names.
    pub fn start_on(&self, roles: &[Role], backends: app::Backends) -> Replica {
        let (stop, health) = (CancellationToken::new(), Health::new());
        let (config, roles) = (self.config.clone(), roles.to_vec());
        let (token, seen) = (stop.clone(), health.clone());
        let task =
            tokio::spawn(async move { app::run_on(&config, &roles, backends, seen, token).await });
        Replica { stop, health, task }
    }
}

/// A running replica.
pub struct Replica {
    stop: CancellationToken,
    /// What it says of itself.
    pub health: Health,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Replica {
    /// A clean stop, as by SIGTERM; returns when everything held is confirmed or put back.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task
            .await
            .expect("the replica did not panic")
            .expect("the replica stopped cleanly");
    }

    /// Ends it as a crash would: nothing is flushed, put back or committed.
    pub async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("aborted").is_cancelled());
    }
}
