//! DynamoDB away: short records keep their lateness while long ones wait in Kafka, as far as the order of commits of one
//! partition allows: how far that is, is measured.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use delayq::role::Role;
use delayq_stack::Component;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fill::Filler;
use crate::plan::Slot;
use crate::random::Random;
use crate::reader::Reader;
use crate::report::quantiles;
use crate::stand::{Stand, StandOptions};

/// Short records due within this; the long tier takes what is due later than 14 s (compressed times).
const SHORT_MS: (u64, u64) = (1_500, 6_000);
const LONG_MS: (u64, u64) = (600_000, 1_200_000);
/// No record published for this long: the partition stands.
const STANDS: Duration = Duration::from_secs(15);
/// DynamoDB away must not cost short records more than this, beside noise: the promise itself (P3).
const P99_MS: u64 = 25;

/// Arguments.
#[derive(Debug, Args)]
pub(crate) struct AwayArgs {
    /// How long each half lasts.
    #[arg(long = "for", default_value = "30s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// Records per second; few enough that the partition does not fill up before the half is over.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rate: u32,
    /// Of 100 records, how many are long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=99))]
    long: u64,
    /// Records in the burst by which the partition's room is measured.
    #[arg(long, default_value_t = 200_000)]
    burst: u64,
    /// The binary whose roles are run. Default: this one.
    #[arg(long, value_name = "FILE")]
    delayq: Option<PathBuf>,
    /// Print one JSON object instead of indented JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

struct Seen {
    reader: Reader,
    published: u64,
}

/// Runs it; the result, and whether it is as it should be.
pub(crate) async fn run(args: &AwayArgs) -> anyhow::Result<(Value, bool)> {
    let slots = Role::ALL.map(|role| Slot { role, replica: 1 });
    let stand = Stand::start(&StandOptions {
        seed: 1,
        compressed: true,
        slots: slots.into(),
        keep_messages: false,
        // The case that is hardest: all records share one order of commits.
        delay_partitions: 1,
        delayq: args.delayq.clone(),
        settings: Vec::new(),
    })
    .await?;
    for slot in slots {
        stand.fleet.start(slot).await?;
    }
    let kafka = &stand.stack.endpoints().kafka;
    let filler = Filler::new(kafka, stand.delay_topic()?, &stand.target)?;
    let mut seen = Seen {
        reader: Reader::new(kafka, &stand.outputs)?,
        published: 0,
    };
    let mut random = Random::new(3);
    let long_percent = args.long;
    let delay = move |random: &mut Random| {
        let (low, high) = if random.chance(long_percent) {
            LONG_MS
        } else {
            SHORT_MS
        };
        random.between(low, high)
    };
    // The first records find everything cold.
    steady(
        args,
        &filler,
        &mut random,
        delay,
        &mut seen,
        Duration::from_secs(10),
    )
    .await?;
    let healthy = steady(args, &filler, &mut random, delay, &mut seen, args.lasts).await?;
    stand.stack.kill(Component::DynamoDb).await?;
    let away = steady(args, &filler, &mut random, delay, &mut seen, args.lasts).await?;
    let before = seen.published;
    // Then as many as it takes until the partition stands still.
    let started = Instant::now();
    let (burst, mut for_burst) = (args.burst, random.clone());
    tokio::task::spawn_blocking(move || {
        for n in 0..burst {
            filler.send(n, delay(&mut for_burst))?;
        }
        filler.flush()
    })
    .await??;
    let mut last = Instant::now();
    while seen.reader.next(last + STANDS).await.is_some() {
        seen.published += 1;
        last = Instant::now();
    }
    let passed_by = seen.published - before;
    let stood_after_s = last.duration_since(started).as_secs_f64();
    let [healthy_p99, away_p99] = [&healthy, &away].map(|h| h.value_at_quantile(0.99));
    let passed = away_p99 <= P99_MS.max(healthy_p99 * 2) && !away.is_empty();
    let result = json!({
        "scenario": "away", "rate_per_s": args.rate, "long_percent": args.long, "seconds": args.lasts.as_secs(),
        "healthy_lateness_ms": quantiles(&healthy), "away_lateness_ms": quantiles(&away),
        "burst": args.burst, "short_records_published_past_waiting_long_ones": passed_by,
        "stood_after_seconds": stood_after_s, "passed": passed,
    });
    Ok((result, passed))
}

/// Sends at a steady rate and reads what comes; answers with the lateness of what was due meanwhile.
async fn steady(
    args: &AwayArgs,
    filler: &Filler,
    random: &mut Random,
    delay: impl Fn(&mut Random) -> u64,
    seen: &mut Seen,
    lasts: Duration,
) -> anyhow::Result<Histogram<u64>> {
    let mut lateness_ms = Histogram::new(3)?;
    let gap = Duration::from_secs(1) / args.rate.max(1);
    let started = Instant::now();
    let mut sent = 0;
    let drained = lasts + Duration::from_millis(SHORT_MS.1 + 1_000);
    while started.elapsed() < drained {
        let next_send = started + gap * sent;
        let sending = next_send < started + lasts;
        if sending && Instant::now() >= next_send {
            filler.send(sent.into(), delay(random))?;
            sent += 1;
            continue;
        }
        let until = if sending {
            next_send
        } else {
            started + drained
        };
        let Some(arrived) = seen.reader.next(until).await else {
            continue;
        };
        seen.published += 1;
        let due_ms = arrived.record.header_text("delayed-due-ms");
        if let Some(due_ms) = due_ms.and_then(|due| due.parse::<i64>().ok()) {
            lateness_ms.saturating_record(u64::try_from(arrived.at_ms - due_ms).unwrap_or(0));
        }
    }
    Ok(lateness_ms)
}
