//! `delayq bench sizes` and `delayq bench scale`: the sustained rate of records of several sizes, and of more and more processes.

use serde_json::{Map, Value, json};

use super::report::{Output, print, together};
use super::stage::{PARTITIONS, Tiers};
use super::sustained::{self, SustainedArgs};

/// What the records of one size make together, bytes, at most: enough for a run that lasts long beside the delay of its first record.
const SIZE_TOTAL_BYTES: u32 = 2 << 30;
const QUICK_TOTAL_BYTES: u32 = 512 << 20;
const SIZE_RECORDS_MAX: u32 = 2_000_000;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct SizesArgs {
    /// Which stores lie behind the ports.
    #[arg(long, value_enum, default_value = "stack")]
    pub tiers: Tiers,
    /// Sizes of a record's value, in bytes. What is larger than a batch goes by the payload table.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_024, 262_144, 1_000_000], value_parser = clap::value_parser!(u32).range(50..=1_000_000))]
    pub record_bytes: Vec<u32>,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// Under a minute or so for each size: 512 MiB of records instead of 2 GiB.
    #[arg(long)]
    pub quick: bool,
    /// Another setting of the roles. May be repeated.
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    pub settings: Vec<String>,
    /// Print one JSON object on one line instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct ScaleArgs {
    /// Processes of each role, partitions of each topic, and shards: 1,2,4.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4], value_parser = clap::value_parser!(u32).range(1..=16))]
    pub replicas: Vec<u32>,
    /// Records of a run.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub records: u32,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// A fifth of the records.
    #[arg(long)]
    pub quick: bool,
    /// Another setting of the roles. May be repeated.
    #[arg(long = "set", value_name = "SECTION.FIELD=VALUE")]
    pub settings: Vec<String>,
    /// Print one JSON object on one line instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Runs; `Ok(false)` when a record was lost or early.
///
/// # Errors
/// A stack that does not start, or settings that do not fit it.
pub async fn sizes(args: &SizesArgs) -> anyhow::Result<bool> {
    let total = if args.quick {
        QUICK_TOTAL_BYTES
    } else {
        SIZE_TOTAL_BYTES
    };
    let each = args.record_bytes.iter().map(|bytes| {
        let sustained = SustainedArgs {
            tiers: args.tiers,
            records: (total / bytes).min(SIZE_RECORDS_MAX),
            record_bytes: *bytes,
            ..short(args.runs, &args.settings)
        };
        (format!("{bytes} B"), sustained)
    });
    series("sizes", "by_size", each.collect(), args.json).await
}

/// Runs; `Ok(false)` when a record was lost or early.
///
/// # Errors
/// A stack that does not start, or settings that do not fit it.
pub async fn scale(args: &ScaleArgs) -> anyhow::Result<bool> {
    let each = args.replicas.iter().map(|replicas| {
        let mut settings = vec![format!("long.shards={replicas}")];
        settings.extend(args.settings.iter().cloned());
        let sustained = SustainedArgs {
            tiers: Tiers::Stack,
            records: if args.quick {
                args.records / 5
            } else {
                args.records
            },
            replicas: *replicas,
            partitions: *replicas,
            ..short(args.runs, &settings)
        };
        (replicas.to_string(), sustained)
    });
    series("scale", "by_replicas", each.collect(), args.json).await
}

/// Delays of 3 to 5 s.
fn short(runs: u32, settings: &[String]) -> SustainedArgs {
    SustainedArgs {
        tiers: Tiers::Stack,
        records: SIZE_RECORDS_MAX,
        runs,
        warm_up: 0,
        record_bytes: 1024,
        delay_min: 3,
        delay_max: 5,
        replicas: 1,
        partitions: PARTITIONS,
        quick: false,
        settings: settings.to_vec(),
        output: Output::default(),
    }
}

/// Each on a stack of its own: what one leaves behind is not the next one's to carry.
async fn series(
    scenario: &str,
    by: &str,
    each: Vec<(String, SustainedArgs)>,
    json: bool,
) -> anyhow::Result<bool> {
    let (mut figures, mut all_kept) = (Map::new(), true);
    for (name, args) in each {
        let stack = args.tiers.stack().await?;
        let (of_one, kept) = sustained::measure(&stack, &args).await?;
        drop(stack);
        figures.insert(name, of_one);
        all_kept &= kept;
    }
    let sum = |name: &str| -> u64 {
        figures
            .values()
            .filter_map(|one| one.get(name)?.as_u64())
            .sum()
    };
    let totals = json!({"scenario": scenario, "lost": sum("lost"), "early": sum("early")});
    let by: Value = [(by.to_owned(), Value::Object(figures))]
        .into_iter()
        .collect();
    print(&together([totals, by]), json);
    Ok(all_kept)
}
