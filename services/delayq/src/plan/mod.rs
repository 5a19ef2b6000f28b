//! `delayq plan`: what a workload takes of AWS, what is the first limit, and what it costs; beside it the same for one item a
//! record and for EventBridge Scheduler.

mod model;
mod workload;

use delayq_core::billing::{LIST_PRICES, Unit};
use delayq_runtime::config::Config;
use serde_json::{Value, json};

use self::model::{Assumed, Billed, Flow, flow, one_item_a_record};
pub use self::workload::{Count, Delays, Rate, Size};

const MONTH_S: f64 = 30.0 * 86_400.0;
/// Times that JSON events of 1 KiB are smaller in company.
const COMPRESSION: f64 = 5.0;
/// Processor time a record by role, µs: `delayq bench sustained --tiers stack` on two cores of a cloud server, rounded up.
const ROUTER_US: f64 = 10.0;
const EMITTER_US: f64 = 10.0;
const SCHEDULER_US: f64 = 5.0;
/// Of a task's processor, what is planned with.
const UTILISATION: f64 = 0.5;
/// The smallest Fargate task on ARM: processors, GB. <https://aws.amazon.com/fargate/pricing/>
const TASK_VCPU: f64 = 0.25;
const TASK_GB: f64 = 0.5;
const VCPU_H_USD: f64 = 0.032_38;
const GB_H_USD: f64 = 0.003_56;
/// <https://aws.amazon.com/dynamodb/pricing/on-demand/>
const GB_MONTH_USD: f64 = 0.25;
/// <https://aws.amazon.com/eventbridge/pricing/>, beyond the free 14 million a month.
const SCHEDULER_MILLION_USD: f64 = 1.0;
/// Records a second that a partition of a Kafka topic is planned with.
const PARTITION_PER_S: f64 = 5_000.0;
/// Write units a second of a table on demand by default, and of a single partition of it.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html>
const TABLE_WRITES: f64 = 40_000.0;
const KEY_WRITES: f64 = 1_000.0;
/// Calls a second of each kind to a FIFO queue. <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const FIFO_CALLS: f64 = 300.0;
/// Messages of a standard queue that may be in flight.
const IN_FLIGHT: f64 = 120_000.0;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct PlanArgs {
    /// Records accepted: `1000/s`, `50k/h`, `100M/day`.
    #[arg(long)]
    pub rate: Rate,
    /// Size of a record's value: `300B`, `1KiB`.
    #[arg(long, default_value = "1KiB")]
    pub size: Size,
    /// Delays: one, or spread evenly: `30m`, `uniform:5m..7d`.
    #[arg(long, default_value = "uniform:5m..7d")]
    pub delays: Delays,
    /// Records that may be due in the same second: `10M`.
    #[arg(long)]
    pub burst: Option<Count>,
    /// How many times smaller many records are together. JSON events of 1 KiB: 5 to 6 (`delayq bench`).
    #[arg(long, default_value_t = COMPRESSION)]
    pub compression: f64,
    /// Priorities in use (1 to 3).
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3))]
    pub priorities: u32,
    /// Tracked records (with a delay-id), in percent of all, burst included.
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub tracked: u32,
    /// Print one JSON object on one line.
    #[arg(long)]
    pub json: bool,
}

/// The plan as it is printed.
///
/// # Errors
/// A compression below 1.
pub fn plan(args: &PlanArgs, config: &Config) -> anyhow::Result<String> {
    if !(1.0..=100.0).contains(&args.compression) {
        anyhow::bail!("--compression must be 1 to 100");
    }
    let tasks = Tasks::of(args);
    let assumed = Assumed {
        compression: args.compression,
        priorities: args.priorities.into(),
        routers: tasks.routers,
        emitters: tasks.emitters,
    };
    let mut flow = flow(args.rate, args.size, args.delays, assumed, config);
    flow.billed.writes += args.tracked_per_s() * TRACKED_WRITES;
    let figures = figures(args, config, &tasks, &flow);
    Ok(if args.json {
        figures.to_string()
    } else {
        text(&figures)
    })
}

/// US dollars that a million records cost by themselves, with one process of each role: for whoever meters the same.
pub(crate) fn usd_per_million(rate: Rate, size: Size, delays: Delays, config: &Config) -> f64 {
    let assumed = Assumed {
        compression: COMPRESSION,
        priorities: 3.0,
        routers: 1.0,
        emitters: 1.0,
    };
    let billed = flow(rate, size, delays, assumed, config).billed;
    cents4(billed.usd_per_s() / rate.0 * 1e6)
}

impl PlanArgs {
    fn tracked_share(&self) -> f64 {
        f64::from(self.tracked) / 100.0
    }

    fn tracked_per_s(&self) -> f64 {
        self.rate.0 * self.tracked_share()
    }
}

/// Write units of a tracked record: registered, claimed and ended, in the table and in its index (`docs/tracked.md`).
const TRACKED_WRITES: f64 = 7.0;
/// Those of its claim and its end, which a burst takes at once.
const TRACKED_WRITES_WHEN_DUE: f64 = 5.0;

/// Processes of each role: two at least, so that one may go.
struct Tasks {
    routers: f64,
    schedulers: f64,
    emitters: f64,
}

impl Tasks {
    fn of(args: &PlanArgs) -> Self {
        let of = |us: f64| {
            (args.rate.0 * us / 1e6 / (TASK_VCPU * UTILISATION))
                .ceil()
                .max(2.0)
        };
        Self {
            routers: of(ROUTER_US),
            schedulers: of(SCHEDULER_US),
            emitters: of(EMITTER_US),
        }
    }

    fn usd_per_month(&self) -> f64 {
        let each = (TASK_VCPU * VCPU_H_USD + TASK_GB * GB_H_USD) * MONTH_S / 3600.0;
        (self.routers + self.schedulers + self.emitters) * each
    }
}

fn figures(args: &PlanArgs, config: &Config, tasks: &Tasks, flow: &Flow) -> Value {
    let month = |usd_per_s: f64| cents(usd_per_s * MONTH_S);
    let storage = |billed: &Billed| billed.stored_bytes / 1e9 * GB_MONTH_USD;
    let records_a_month = args.rate.0 * MONTH_S;
    let by_records = flow.billed.usd_per_s() * MONTH_S;
    let one_item = one_item_a_record(args.rate, args.size).usd_per_s();
    let events =
        args.rate.0 / 1e6 * (SCHEDULER_MILLION_USD + 3.0 * LIST_PRICES.sqs_request as f64 / 1000.0);
    let limits = limits(config, flow);
    let first = limits.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let burst = args.burst.map(|burst| {
        let per_s = tasks.emitters * TASK_VCPU * 1e6 / EMITTER_US;
        let messages = burst.0 / flow.records_per_message.max(1.0);
        json!({
            "records": burst.0, "published_within_s": round(burst.0 / per_s),
            "emitters_to_publish_within_60_s": (burst.0 / 60.0 * EMITTER_US / 1e6 / TASK_VCPU).ceil(),
            "messages_in_flight_at_most": messages.min(IN_FLIGHT).round(),
            "tracked_claimed_within_s": round(
                burst.0 * args.tracked_share() * TRACKED_WRITES_WHEN_DUE / TABLE_WRITES
            ),
        })
    });
    json!({
        "records_per_s": round(args.rate.0),
        "paths_per_s": {
            "direct": round(flow.direct_per_s), "short": round(flow.short_per_s), "long": round(flow.long_per_s),
        },
        "kafka_partitions": (args.rate.0 / PARTITION_PER_S).ceil().max(6.0).max(tasks.routers),
        "shards": config.long.shards,
        "tasks": {"router": tasks.routers, "scheduler": tasks.schedulers, "emitter": tasks.emitters,
            "vcpu": TASK_VCPU, "gb": TASK_GB},
        "messages_per_s": round(flow.messages_per_s), "records_per_message": round(flow.records_per_message),
        "batches_per_s": round(flow.batches_per_s), "records_per_batch": round(flow.records_per_batch),
        "per_s": {
            "sqs_requests": round(flow.billed.sqs + flow.idle.sqs),
            "sqs_fifo_requests": round(flow.billed.sqs_fifo + flow.idle.sqs_fifo),
            "write_units": round(flow.billed.writes + flow.idle.writes),
            "read_units": round(flow.billed.reads + flow.idle.reads),
        },
        "quotas_used": limits.iter().map(|(name, used)| (name.to_string(), json!(round(*used)))).collect::<serde_json::Map<_, _>>(),
        "tracked": {
            "records_per_s": round(args.tracked_per_s()),
            "write_units_per_s": round(args.tracked_per_s() * TRACKED_WRITES),
            "usd_per_million": cents4(TRACKED_WRITES * LIST_PRICES.of(Unit::WriteUnit) as f64 / 1000.0),
        },
        "first_limit": first.map(|(name, _)| *name),
        "burst": burst,
        "usd_per_million": {"by_records": cents4(by_records / records_a_month * 1e6)},
        "usd_per_month": {
            "queues_and_tables": cents(by_records), "storage": cents(storage(&flow.billed)),
            "polls_and_ticks": month(flow.idle.usd_per_s()), "tasks": cents(tasks.usd_per_month()),
            "all": cents(by_records + storage(&flow.billed) + flow.idle.usd_per_s() * MONTH_S + tasks.usd_per_month()),
        },
        "usd_per_month_others": {
            "one_item_a_record": month(one_item), "eventbridge_scheduler": month(events),
        },
        "prices": {"as_of": LIST_PRICES.as_of, "region": LIST_PRICES.region},
    })
}

/// Each quota by the share of it that is used.
fn limits(config: &Config, flow: &Flow) -> Vec<(&'static str, f64)> {
    let shards = f64::from(config.long.shards);
    vec![
        (
            "dynamodb table, write units",
            (flow.billed.writes + flow.idle.writes) / TABLE_WRITES,
        ),
        // The bucket that is written to most gets no more than all of a shard's.
        (
            "dynamodb key, write units at worst",
            flow.billed.writes / shards / KEY_WRITES,
        ),
        (
            "sqs fifo, calls of one kind",
            (flow.billed.sqs_fifo + flow.idle.sqs_fifo) / 3.0 / FIFO_CALLS,
        ),
        (
            "sqs standard, messages in flight",
            flow.messages_per_s * config.emitter.early.as_secs_f64() / IN_FLIGHT,
        ),
    ]
}

/// For people.
fn text(figures: &Value) -> String {
    let of = |part: &str| figures.pointer(part).map_or_else(String::new, plain);
    let share = |part: &str| {
        let used = figures.pointer(part).and_then(Value::as_f64);
        format!("{:.1} %", used.unwrap_or(f64::NAN) * 100.0)
    };
    let first = of("/first_limit");
    let mut lines = vec![
        format!(
            "records      {}/s: {} direct, {} short, {} long",
            of("/records_per_s"),
            of("/paths_per_s/direct"),
            of("/paths_per_s/short"),
            of("/paths_per_s/long")
        ),
        format!(
            "tasks        {} routers, {} schedulers, {} emitters, each of {} vCPU and {} GB",
            of("/tasks/router"),
            of("/tasks/scheduler"),
            of("/tasks/emitter"),
            of("/tasks/vcpu"),
            of("/tasks/gb")
        ),
        format!(
            "partitions   {} of the delay topic and of each output topic",
            of("/kafka_partitions")
        ),
        format!("shards       {} (long.shards)", of("/shards")),
        format!(
            "SQS          {} messages/s of {} records; {} requests/s, and {} to the FIFO queue",
            of("/messages_per_s"),
            of("/records_per_message"),
            of("/per_s/sqs_requests"),
            of("/per_s/sqs_fifo_requests")
        ),
        format!(
            "DynamoDB     {} batches/s of {} records; {} write and {} read units/s",
            of("/batches_per_s"),
            of("/records_per_batch"),
            of("/per_s/write_units"),
            of("/per_s/read_units")
        ),
        format!(
            "first limit  {first}: {} used",
            share(&format!("/quotas_used/{first}"))
        ),
    ];
    if figures.pointer("/burst/records").is_some() {
        lines.push(format!(
            "burst        {} due at once: published within {} s, within 60 s by {} emitters",
            of("/burst/records"),
            of("/burst/published_within_s"),
            of("/burst/emitters_to_publish_within_60_s")
        ));
        if of("/burst/tracked_claimed_within_s") != "0" {
            lines.push(format!(
                "             its tracked records are claimed and ended within {} s at a table's quota of {TABLE_WRITES} write units/s",
                of("/burst/tracked_claimed_within_s")
            ));
        }
    }
    if of("/tracked/records_per_s") != "0" {
        lines.push(format!(
            "tracked      {}/s: {} of the write units/s, ${} a million besides",
            of("/tracked/records_per_s"),
            of("/tracked/write_units_per_s"),
            of("/tracked/usd_per_million")
        ));
    }
    lines.extend([
        String::new(),
        format!("a month      ${}", of("/usd_per_month/all")),
        format!(
            "             queues and tables {}, storage {}, polls and ticks {}, tasks {}",
            of("/usd_per_month/queues_and_tables"),
            of("/usd_per_month/storage"),
            of("/usd_per_month/polls_and_ticks"),
            of("/usd_per_month/tasks")
        ),
        format!(
            "a million    ${} for its records alone",
            of("/usd_per_million/by_records")
        ),
        format!(
            "others       one item a record ${}, EventBridge Scheduler (to 60 s) ${}, without tasks",
            of("/usd_per_month_others/one_item_a_record"),
            of("/usd_per_month_others/eventbridge_scheduler")
        ),
        format!(
            "prices       list prices of {}, {}; Kafka is not in it",
            of("/prices/region"),
            of("/prices/as_of")
        ),
    ]);
    lines.join("\n")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // Whole numbers without a point.
        Value::Number(number) => number.as_f64().map_or_else(String::new, |n| n.to_string()),
        other => other.to_string(),
    }
}

fn round(value: f64) -> f64 {
    if value >= 100.0 {
        value.round()
    } else {
        (value * 1000.0).round() / 1000.0
    }
}

fn cents(usd: f64) -> f64 {
    (usd * 100.0).round() / 100.0
}

/// To a hundredth of a cent.
pub(crate) fn cents4(usd: f64) -> f64 {
    (usd * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_runtime::config::{Sources, load};

    #[test]
    fn a_plan_has_every_part_and_says_what_is_first() {
        let config = load(&Sources {
            set: vec!["topics.allow=*".to_owned()],
            ..Sources::default()
        })
        .unwrap();
        let args = PlanArgs {
            rate: Rate(100e6 / 86_400.0),
            size: Size(1024.0),
            delays: Delays {
                from_s: 300.0,
                to_s: 604_800.0,
            },
            burst: Some(Count(1e7)),
            compression: 5.0,
            priorities: 3,
            tracked: 0,
            json: true,
        };
        let figures: Value = serde_json::from_str(&plan(&args, &config).unwrap()).unwrap();
        for part in [
            "/kafka_partitions",
            "/shards",
            "/tasks/emitter",
            "/per_s/write_units",
            "/first_limit",
            "/burst/published_within_s",
            "/usd_per_month/all",
            "/usd_per_month_others/one_item_a_record",
            "/usd_per_month_others/eventbridge_scheduler",
            "/prices/as_of",
        ] {
            assert!(
                figures.pointer(part).is_some_and(|value| !value.is_null()),
                "{part} {figures}"
            );
        }
        let of = |part: &str| figures.pointer(part).and_then(Value::as_f64).unwrap();
        // A tenth of what others take, tasks included.
        assert!(of("/usd_per_month/all") * 5.0 < of("/usd_per_month_others/eventbridge_scheduler"));
        let tracked = PlanArgs {
            tracked: 10,
            ..args.clone()
        };
        let more: Value = serde_json::from_str(&plan(&tracked, &config).unwrap()).unwrap();
        let more = |part: &str| more.pointer(part).and_then(Value::as_f64).unwrap();
        // A tenth of 100 million a day by 7 units; of 10 million by 5 at 40,000 a second.
        assert!((more("/per_s/write_units") - of("/per_s/write_units") - 810.0).abs() < 2.0);
        assert!((more("/burst/tracked_claimed_within_s") - 125.0).abs() < 1.0);
        let people = plan(
            &PlanArgs {
                json: false,
                ..tracked
            },
            &config,
        )
        .unwrap();
        assert!(people.contains("first limit  dynamodb") && people.contains("a month      $"));
    }

    #[test]
    fn a_compression_that_is_none_is_refused() {
        let config = load(&Sources {
            set: vec!["topics.allow=*".to_owned()],
            ..Sources::default()
        })
        .unwrap();
        let args = PlanArgs {
            rate: Rate(1.0),
            size: Size(1024.0),
            delays: Delays {
                from_s: 60.0,
                to_s: 60.0,
            },
            burst: None,
            compression: 0.5,
            priorities: 3,
            tracked: 0,
            json: true,
        };
        assert!(plan(&args, &config).is_err());
    }
}
