//! Memory under a backlog: millions of records wait in the delay topic, SQS is slow, and each role stays within bounds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use delayq::role::Role;
use delayq_stack::Usage;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fill::Filler;
use crate::plan::{Line, NetFault, Slot, role_name};
use crate::random::Random;
use crate::stand::{Stand, StandOptions};

const PARTITIONS: i32 = 8;
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Arguments.
#[derive(Debug, Args)]
pub(crate) struct BacklogArgs {
    /// Records of 1 KiB that wait in the delay topic. Ten million take about 6 GB of disk.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    records: u64,
    /// How long the roles are watched.
    #[arg(long = "for", default_value = "180s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// How much longer each call to SQS takes, in milliseconds.
    #[arg(long, default_value_t = 200)]
    sqs_ms: u64,
    /// Of 100 calls to SQS, how many are throttled.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=90))]
    throttled: u64,
    /// Most resident memory of a role, in MiB.
    #[arg(long, default_value_t = 256)]
    limit_mib: u32,
    /// The binary whose roles are run. Default: this one.
    #[arg(long, value_name = "FILE")]
    delayq: Option<PathBuf>,
    /// Another setting of delayq, such as `--set router.memory=64MiB`. May be repeated.
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    settings: Vec<String>,
    /// Print one JSON object instead of indented JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs it; the result, and whether it is as it should be.
pub(crate) async fn run(args: &BacklogArgs) -> anyhow::Result<(Value, bool)> {
    let slots = Role::ALL.map(|role| Slot { role, replica: 1 });
    let stand = Stand::start(&StandOptions {
        seed: 1,
        compressed: false,
        slots: slots.into(),
        keep_messages: false,
        delay_partitions: PARTITIONS,
        delayq: args.delayq.clone(),
        settings: args.settings.clone(),
    })
    .await?;
    let filling = Instant::now();
    let filler = Filler::new(
        &stand.stack.endpoints().kafka,
        stand.delay_topic()?,
        &stand.target,
    )?;
    let records = args.records;
    tokio::task::spawn_blocking(move || {
        let mut random = Random::new(2);
        for n in 0..records {
            filler.send(n, delay_ms(&mut random))?;
        }
        filler.flush()
    })
    .await??;
    let fill_s = filling.elapsed().as_secs_f64();
    tracing::info!(records, fill_s, "the delay topic is filled");
    stand.line(Line::Sqs)?.set(Some(NetFault::Slow {
        ms: args.sqs_ms,
        throttled_percent: args.throttled,
    }));
    for slot in slots {
        stand.fleet.start(slot).await?;
    }
    let offsets = stand.offsets(PARTITIONS)?;
    let until = Instant::now() + args.lasts;
    let mut most: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    let (mut committed, mut advanced, mut samples) = (0, 0, 0);
    while Instant::now() < until {
        tokio::time::sleep(SAMPLE_EVERY).await;
        for slot in slots {
            let pid = stand.fleet.pid(slot).await?;
            let Some(pid) = pid else { continue };
            let found = Usage::of(pid)?;
            let most = most.entry(role_name(slot.role)).or_default();
            most[0] = most[0].max(found.resident_most_mib);
            most[1] = found.resident_mib;
        }
        let now: i64 = offsets.committed().await?.values().sum();
        samples += 1;
        advanced += u32::from(now > committed);
        committed = now;
        tracing::info!(committed, ?most, "sample");
    }
    let within = most
        .values()
        .all(|[most, _]| *most <= f64::from(args.limit_mib));
    let crashed = stand.fleet.ended().await?;
    let left = records.saturating_sub(committed.unsigned_abs());
    let passed = within && crashed.is_empty() && (advanced > 1 || left == 0);
    let rounded = |mib: f64| (mib * 10.0).round() / 10.0;
    let memory: BTreeMap<_, _> = most
        .into_iter()
        .map(|(role, [most, last])| {
            let of = json!({"max": rounded(most), "last": rounded(last)});
            (role, of)
        })
        .collect();
    if !passed {
        stand.stack.keep();
    }
    let result = json!({
        "scenario": "backlog", "records": records, "record_bytes": 1024, "fill_seconds": fill_s.round(),
        "seconds": args.lasts.as_secs(), "sqs_extra_ms": args.sqs_ms, "sqs_throttled_percent": args.throttled,
        "memory_mib": memory, "limit_mib": args.limit_mib,
        "committed": committed, "left": left, "samples": samples, "samples_in_which_commits_advanced": advanced,
        "crashes": crashed.iter().map(|(slot, status)| format!("{slot}: {status}")).collect::<Vec<_>>(),
        "passed": passed, "logs": (!passed).then(|| stand.dir.display().to_string()),
    });
    Ok((result, passed))
}

/// 80 of 100 due within what SQS can delay, 10 in days, 10 at once.
fn delay_ms(random: &mut Random) -> u64 {
    match random.between(0, 9) {
        0 => random.between(0, 1_000),
        1 => random.between(24 * 3_600_000, 6 * 24 * 3_600_000),
        _ => random.between(300_000, 850_000),
    }
}
