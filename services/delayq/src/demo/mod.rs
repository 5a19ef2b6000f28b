//! `delayq demo`: the whole path at work, with sample records, counted by a consumer that trusts nobody.

mod deployment;
mod reader;
mod sample;
mod tally;
mod tracked;
mod view;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use delayq_runtime::health::Health;
use delayq_runtime::shutdown::Signals;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::{self, Backends};
use crate::console::Console;
use crate::role::Role;
use deployment::Deployment;
use sample::Sampler;
use tally::Tally;
use tracked::Tracked;
use view::View;

/// Arguments of `demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// End after this time (such as 20s); without it, at Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub lasts: Option<Duration>,
    /// Print the summary as one JSON object, the last line of stdout.
    #[arg(long)]
    pub json: bool,
    /// Use Apache Kafka, ElasticMQ and DynamoDB Local, started from their jars (needs java and mvn), in place of the
    /// embedded broker and tiers in memory.
    #[arg(long)]
    pub real: bool,
    /// Sample records per second, 1 to 1,000.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rate: u32,
    /// Where the embedded broker listens; by default 127.0.0.1:9092, or any free port if that is taken.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "real")]
    pub kafka: Option<String>,
    /// Where the console listens; by default 127.0.0.1:8081, or any free port if that is taken.
    #[arg(long, value_name = "ADDRESS")]
    pub console: Option<String>,
}

/// What the parts of the demo tell one another.
type Shared = Arc<Mutex<Tally>>;

/// How long a start may take: a consumer group of the embedded broker needs some seconds.
const START_MAX: Duration = Duration::from_secs(60);
/// What is missing this long after its due time is lost.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long copies have to show up after the last record came.
const COPIES_PATIENCE: Duration = Duration::from_millis(1500);
/// How long the console may take to close.
const CONSOLE_CLOSES: Duration = Duration::from_secs(1);
/// Time between two pictures.
const FRAME: Duration = Duration::from_millis(500);

/// Runs; `Ok(false)` when a record was lost, early, or ended where it should not.
///
/// # Errors
/// Something could not be started.
pub async fn run(args: &DemoArgs) -> anyhow::Result<bool> {
    let interrupted = CancellationToken::new();
    let signals = tokio::spawn(Signals::take()?.obey(interrupted.clone()));
    let mut view = View::new(args.json);
    view.say(if args.real {
        "starting Apache Kafka, ElasticMQ and DynamoDB Local …"
    } else {
        "starting an embedded Kafka broker, both tiers in memory, and all roles …"
    });
    let deployment = Deployment::start(args).await?;
    let (health, stop_roles) = (Health::new(), CancellationToken::new());
    let backends = deployment.backends().await?;
    let roles = {
        let (config, backends) = (deployment.config.clone(), backends.clone());
        let (health, stop) = (health.clone(), stop_roles.clone());
        tokio::spawn(async move { app::run_on(&config, &Role::ALL, backends, health, stop).await })
    };
    until_ready(&health, &interrupted).await?;
    let tally: Shared = Arc::new(Mutex::new(Tally::new()?));
    let stop_reader = CancellationToken::new();
    let reader = tokio::spawn(reader::read(
        deployment.bootstrap().to_owned(),
        deployment.outputs(),
        deployment.name().to_owned(),
        deployment.has_broker_time(),
        tally.clone(),
        stop_reader.clone(),
    ));
    let console = console(&deployment, args, backends.clone(), &health).await?;
    view.introduce(&deployment, console.address()?);
    let (stop_console, stop_tracked) = (CancellationToken::new(), CancellationToken::new());
    let console = tokio::spawn(console.serve(stop_console.clone()));
    let tracked = Tracked {
        producer: sample::producer(&deployment)?,
        topic: deployment.delay_topic().to_owned(),
        registry: backends.registry,
        clock: backends.clock,
    };
    let tracked = tokio::spawn(tracked.run(stop_tracked.clone()));
    let sampler = Sampler::new(&deployment, tally.clone(), args)?;
    let (started, ended) = (Instant::now(), interrupted.child_token());
    let mut sampling = tokio::spawn(sampler.run(ended.clone()));
    let mut frame = tokio::time::interval(FRAME);
    let sampled = loop {
        tokio::select! {
            done = &mut sampling => break done,
            _ = frame.tick() => {
                view.draw(&locked(&tally), started.elapsed(), "");
                anyhow::ensure!(!roles.is_finished(), "a role ended on its own; see the log");
                if args.lasts.is_some_and(|lasts| started.elapsed() >= lasts) {
                    ended.cancel();
                }
            }
        }
    };
    sampled.context("the sample producer panicked")??;
    stop_tracked.cancel();
    tracked
        .await
        .context("the producer of tracked records panicked")?;
    drain(&mut view, &tally, started).await;
    stop_console.cancel();
    // A page that is open keeps its connection; it must not keep the demo.
    if let Ok(ended) = tokio::time::timeout(CONSOLE_CLOSES, console).await {
        ended.context("the console panicked")??;
    }
    stop_roles.cancel();
    roles.await.context("a role panicked")??;
    stop_reader.cancel();
    reader.await.context("the reader panicked")??;
    signals.abort();
    let summary = locked(&tally).summary();
    view.summarise(&summary)?;
    Ok(summary.is_good())
}

/// The console, where it is asked for, or where it can.
async fn console(
    deployment: &Deployment,
    args: &DemoArgs,
    backends: Backends,
    health: &Health,
) -> anyhow::Result<Console> {
    let mut config = deployment.config.clone();
    if let Some(listen) = &args.console {
        config.console.listen.clone_from(listen);
        config.validate()?;
        return Console::bind(&config, backends, health).await;
    }
    match Console::bind(&config, backends.clone(), health).await {
        Ok(console) => Ok(console),
        Err(_) => {
            "127.0.0.1:0".clone_into(&mut config.console.listen);
            Console::bind(&config, backends, health).await
        }
    }
}

/// Waits until every record has come, or is so late that it counts as lost.
async fn drain(view: &mut View, tally: &Shared, started: Instant) {
    let hint = "draining what is still to come due; Ctrl-C again ends at once";
    loop {
        let (waiting, last_due_ms, now_ms) = {
            let tally = locked(tally);
            view.draw(&tally, started.elapsed(), hint);
            (tally.missing(), tally.last_due_ms(), tally::now_ms())
        };
        let patience_ms = i64::try_from(DRAIN_PATIENCE.as_millis()).unwrap_or(i64::MAX);
        if waiting == 0 || now_ms > last_due_ms.saturating_add(patience_ms) {
            break;
        }
        tokio::time::sleep(FRAME).await;
    }
    tokio::time::sleep(COPIES_PATIENCE).await;
}

async fn until_ready(health: &Health, interrupted: &CancellationToken) -> anyhow::Result<()> {
    let until = Instant::now() + START_MAX;
    loop {
        let readiness = health.readiness();
        if readiness.ready {
            return Ok(());
        }
        anyhow::ensure!(
            !interrupted.is_cancelled(),
            "interrupted before it had started"
        );
        anyhow::ensure!(
            Instant::now() < until,
            "not ready after {} s: {}",
            START_MAX.as_secs(),
            serde_json::to_string(&readiness)?
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The tally, also after a panic elsewhere: its counts are whole between calls.
fn locked(tally: &Shared) -> std::sync::MutexGuard<'_, Tally> {
    tally
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
