//! How records are packed at a rate, and what is billed for it: the protocol of the tiers in formulas.
//!
//! A group of records opens with its first and closes when that one has waited long enough, so that it holds that one and
//! those that came meanwhile: `1 + λ · wait`, where λ is the rate of records that belong to the group. What closes per
//! second is the integral of `λ / (1 + λ · wait)` over the delays.

use delayq_core::billing::{LIST_PRICES, Prices, Unit, read_units, sqs_requests, write_units};
use delayq_router::sharding::WELL_FILLED_BYTES;
use delayq_runtime::config::Config;

use super::workload::{Delays, Rate, Size};

/// Steps of an integral.
const STEPS: u32 = 2_000;
/// Bytes of a record in a batch beside its value: key, headers, numbers.
const ENVELOPE_BYTES: f64 = 100.0;
/// Bytes of a stored batch beside its content: keys and names.
const ITEM_BYTES: f64 = 120.0;
/// Messages of a call to SQS, at most.
const CALL_MESSAGES: f64 = 10.0;
/// How long the emitter waits for company before it deletes.
const DELETE_EVERY_S: f64 = 0.1;
/// What a record counts in memory beside its value, against `packing.batch_raw_bytes`.
const MEMORY_BYTES: f64 = 750.0;
/// Records whose company halves the way from no compression to the best.
const COMPANY: f64 = 4.0;

/// How a record is assumed to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Assumed {
    /// Times that many records of this kind compress together.
    pub(super) compression: f64,
    /// Priorities in use.
    pub(super) priorities: f64,
    /// Router processes: each packs what it reads.
    pub(super) routers: f64,
    /// Emitter processes: each polls.
    pub(super) emitters: f64,
}

/// Units a second, by kind, and what is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Billed {
    pub(super) sqs: f64,
    pub(super) sqs_fifo: f64,
    pub(super) writes: f64,
    pub(super) reads: f64,
    pub(super) stored_bytes: f64,
}

impl Billed {
    fn plus(self, other: Self) -> Self {
        Self {
            sqs: self.sqs + other.sqs,
            sqs_fifo: self.sqs_fifo + other.sqs_fifo,
            writes: self.writes + other.writes,
            reads: self.reads + other.reads,
            stored_bytes: self.stored_bytes + other.stored_bytes,
        }
    }

    /// US dollars a second, storage not included.
    pub(super) fn usd_per_s(&self) -> f64 {
        let prices: &Prices = &LIST_PRICES;
        let of = |unit, count: f64| prices.of(unit) as f64 * count / 1e9;
        of(Unit::SqsRequest, self.sqs)
            + of(Unit::SqsFifoRequest, self.sqs_fifo)
            + of(Unit::WriteUnit, self.writes)
            + of(Unit::ReadUnit, self.reads)
    }
}

/// The flow of records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    /// Records a second by path.
    pub(super) direct_per_s: f64,
    pub(super) short_per_s: f64,
    pub(super) long_per_s: f64,
    /// Messages a second through the queues, and records in each.
    pub(super) messages_per_s: f64,
    pub(super) records_per_message: f64,
    /// Batches a second written to DynamoDB, and records in each.
    pub(super) batches_per_s: f64,
    pub(super) records_per_batch: f64,
    /// By the records.
    pub(super) billed: Billed,
    /// By the time, whether records come or not.
    pub(super) idle: Billed,
}

/// What a configuration makes of a workload.
pub(super) fn flow(
    rate: Rate,
    size: Size,
    delays: Delays,
    assumed: Assumed,
    config: &Config,
) -> Flow {
    let model = Model {
        rate: rate.0,
        size: size.0,
        delays,
        assumed,
        config,
    };
    let direct_s = config.delays.direct.as_secs_f64();
    let short_s = config.delays.short.as_secs_f64();
    let share = |from: f64, to: f64| model.share(from, to);
    let short_per_s = rate.0 * share(direct_s, short_s);
    let long_per_s = rate.0 * share(short_s, f64::INFINITY);
    let short_messages = model.short_messages(direct_s, short_s);
    let (batches_per_s, stored) = model.long_batches(short_s);
    let long_messages = model.handed_over_messages(long_per_s);
    let messages_per_s = short_messages + long_messages;
    let queued_per_s = short_per_s + long_per_s;
    let records_per_message = queued_per_s / messages_per_s.max(f64::MIN_POSITIVE);
    Flow {
        direct_per_s: rate.0 - queued_per_s,
        short_per_s,
        long_per_s,
        messages_per_s,
        records_per_message,
        batches_per_s,
        records_per_batch: long_per_s / batches_per_s.max(f64::MIN_POSITIVE),
        billed: model
            .queue_calls(short_messages, short_per_s)
            .plus(model.queue_calls(long_messages, long_per_s))
            .plus(stored),
        idle: model.idle(),
    }
}

/// Records that are written together, and the shards of their bucket.
struct BucketGroup {
    records: f64,
    shards: f64,
}

struct Model<'c> {
    rate: f64,
    size: f64,
    delays: Delays,
    assumed: Assumed,
    config: &'c Config,
}

impl Model<'_> {
    /// The share of records whose delay lies between two times.
    fn share(&self, from_s: f64, to_s: f64) -> f64 {
        let Delays {
            from_s: least,
            to_s: most,
        } = self.delays;
        if most <= least {
            return f64::from(u8::from(least > from_s && least <= to_s));
        }
        let overlap = most.min(to_s) - least.max(from_s);
        (overlap / (most - least)).max(0.0)
    }

    /// Records with a delay in one second of delay, a second.
    fn density(&self) -> f64 {
        self.rate / (self.delays.to_s - self.delays.from_s).max(1.0)
    }

    /// Bytes of `records` records together, compressed: company makes them smaller.
    fn packed_bytes(&self, records: f64) -> f64 {
        let most = self.assumed.compression;
        let times = 1.0 + (most - 1.0) * records / (records + COMPANY);
        records * (self.size + ENVELOPE_BYTES) / times
    }

    /// Records that a message or batch of so many bytes holds.
    fn full(&self, encoded_bytes: f64) -> f64 {
        let packing = &self.config.packing;
        let by_memory = packing.batch_raw_bytes.as_u64() as f64 / (self.size + MEMORY_BYTES);
        let by_bytes = encoded_bytes * self.assumed.compression / (self.size + ENVELOPE_BYTES);
        by_memory
            .min(by_bytes)
            .min(f64::from(packing.batch_records))
            .max(1.0)
    }

    /// How long a record waits for company that is due in `delay_s`.
    fn wait_s(&self, delay_s: f64, reserve_s: f64) -> f64 {
        ((delay_s - reserve_s).max(0.0) / 2.0).min(self.config.packing.max_wait.as_secs_f64())
    }

    /// Over the delays between two times: the sum of `each` for a second of delay.
    fn over_delays(&self, from_s: f64, to_s: f64, each: impl Fn(f64) -> f64) -> f64 {
        let from_s = self.delays.from_s.max(from_s);
        let to_s = self.delays.to_s.min(to_s).max(from_s);
        // One delay for all: a second of it.
        let width_s =
            (to_s - from_s).max(f64::from(u8::from(self.delays.from_s == self.delays.to_s)));
        let step_s = width_s / f64::from(STEPS);
        (0..STEPS)
            .map(|n| each(from_s + step_s * (f64::from(n) + 0.5)) * step_s)
            .sum()
    }

    /// Messages a second of the short path: a group for each priority and due second.
    fn short_messages(&self, direct_s: f64, short_s: f64) -> f64 {
        if self.share(direct_s, short_s) == 0.0 {
            return 0.0;
        }
        let reserve_s = self.config.emitter.early.as_secs_f64() + 1.0;
        let full = self.full(self.message_bytes());
        let groups = self.assumed.priorities * self.assumed.routers;
        let density = self.density() / groups;
        let closing = |delay_s: f64| {
            let records = (1.0 + density * self.wait_s(delay_s, reserve_s)).min(full);
            density / records
        };
        groups * self.over_delays(direct_s, short_s, closing)
    }

    /// Encoded bytes of a full message: base64 takes four characters for three bytes.
    fn message_bytes(&self) -> f64 {
        self.config.packing.message_bytes.as_u64() as f64 * 0.75
    }

    /// Batches a second of the long path, and what DynamoDB bills for writing and reading them.
    fn long_batches(&self, short_s: f64) -> (f64, Billed) {
        if self.share(short_s, f64::INFINITY) == 0.0 {
            return (0.0, Billed::default());
        }
        let records = |delay_s: f64| self.bucket_group(delay_s).records;
        // Groups that close a second are those records that come a second, by so many at once.
        let density = self.density();
        let sum = |each: &dyn Fn(f64) -> f64| {
            self.over_delays(short_s, f64::INFINITY, |d| {
                density / records(d) * each(records(d))
            })
        };
        let bytes = |records: f64| self.packed_bytes(records) + ITEM_BYTES;
        let stored_bytes = self.over_delays(short_s, f64::INFINITY, |d| {
            density / records(d) * bytes(records(d)) * d
        });
        let billed = Billed {
            writes: sum(&|n| write_units(bytes(n) as u64) as f64),
            // A query is billed by the sum of a page.
            reads: sum(&|n| bytes(n) / 4096.0),
            stored_bytes,
            ..Billed::default()
        };
        (sum(&|_| 1.0), billed)
    }

    /// The group in which a record is written that is due in `delay_s`, as the router's `sharding` has it: one for the bucket, or one for
    /// each shard once that fills them well.
    fn bucket_group(&self, delay_s: f64) -> BucketGroup {
        let full = self.full(self.config.packing.store_batch_bytes.as_u64() as f64);
        // A bucket gathers what is due in all of its seconds, and no more than there is.
        let bucket_s = self.config.long.bucket.as_secs_f64();
        let per_s = (self.density() * bucket_s).min(self.rate) / self.assumed.routers;
        let wait_s = self.wait_s(delay_s, 0.0).min(self.room_s());
        let of = |shards: f64| 1.0 + per_s / shards * wait_s;
        let shards = f64::from(self.config.long.shards);
        let wide =
            self.packed_bytes(of(1.0)) >= shards * WELL_FILLED_BYTES as f64 || of(1.0) >= full;
        let shards = if wide { shards } else { 1.0 };
        BucketGroup {
            records: of(shards).min(full),
            shards,
        }
    }

    /// How long records wait until memory is short. The fullest groups leave first then, twice as full as groups are on average.
    fn room_s(&self) -> f64 {
        let room = self.config.router.memory.as_u64() as f64 / 2.0 / (self.size + MEMORY_BYTES);
        2.0 * room / (self.rate / self.assumed.routers)
    }

    /// Messages a second that the scheduler sends: a group for each priority and due second, in each shard that has the bucket.
    fn handed_over_messages(&self, long_per_s: f64) -> f64 {
        if long_per_s == 0.0 {
            return 0.0;
        }
        let short_s = self.config.delays.short.as_secs_f64();
        let density = self.density();
        let shards = self.over_delays(short_s, f64::INFINITY, |d| {
            density * self.bucket_group(d).shards
        }) / long_per_s;
        let groups = shards * self.assumed.priorities;
        let each = long_per_s / groups;
        let full = self.full(self.message_bytes());
        // Groups without a record send nothing.
        let busy = groups * (1.0 - (-each).exp());
        busy.max(long_per_s / full)
    }

    /// Send, receive and delete of so many messages a second with so many records.
    fn queue_calls(&self, messages: f64, records: f64) -> Billed {
        if messages <= 0.0 {
            return Billed::default();
        }
        let text_bytes = self.packed_bytes(records / messages) * 4.0 / 3.0;
        // Sent and received alone at worst; a full call costs the same by its bytes.
        let carried = sqs_requests(text_bytes as u64) as f64;
        let lanes = self.assumed.priorities * self.assumed.emitters;
        let deleted_together = (messages / lanes * DELETE_EVERY_S).clamp(1.0, CALL_MESSAGES);
        Billed {
            sqs: messages * (2.0 * carried + 1.0 / deleted_together),
            ..Billed::default()
        }
    }

    /// Long polls that find nothing, ticks and state rows.
    fn idle(&self) -> Billed {
        let emitter = &self.config.emitter;
        let polls = 3.0 * f64::from(emitter.receive_concurrency) + 3.0;
        let ticks_per_s =
            f64::from(self.config.long.shards) / self.config.scheduler.tick.as_secs_f64();
        Billed {
            sqs: self.assumed.emitters * polls / emitter.wait.as_secs_f64(),
            // Sent, received, deleted; and the long polls between.
            sqs_fifo: ticks_per_s * 3.0 + f64::from(self.config.long.shards.min(16)) / 10.0,
            writes: ticks_per_s,
            reads: ticks_per_s * 2.0,
            stored_bytes: 0.0,
        }
    }
}

/// One DynamoDB item a record, as teams build it by hand: put, read and delete it, and a message each through SQS.
pub(super) fn one_item_a_record(rate: Rate, size: Size) -> Billed {
    let item_bytes = (size.0 + ITEM_BYTES) as u64;
    Billed {
        sqs: rate.0 * 3.0 * sqs_requests((size.0 * 4.0 / 3.0) as u64) as f64,
        writes: rate.0 * 2.0 * write_units(item_bytes) as f64,
        reads: rate.0 * read_units(item_bytes) as f64 / 2.0,
        ..Billed::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_runtime::config::{Sources, load};

    fn config() -> Config {
        load(&Sources {
            set: vec!["topics.allow=*".to_owned()],
            ..Sources::default()
        })
        .unwrap()
    }

    fn assumed() -> Assumed {
        Assumed {
            compression: 5.5,
            priorities: 3.0,
            routers: 1.0,
            emitters: 1.0,
        }
    }

    fn of(rate: f64, from_s: f64, to_s: f64) -> Flow {
        flow(
            Rate(rate),
            Size(1024.0),
            Delays { from_s, to_s },
            assumed(),
            &config(),
        )
    }

    fn usd_per_million(flow: &Flow, rate: f64) -> f64 {
        flow.billed.usd_per_s() / rate * 1e6
    }

    #[test]
    fn every_record_takes_one_path() {
        let flow = of(1000.0, 0.0, 3600.0);
        let all = flow.direct_per_s + flow.short_per_s + flow.long_per_s;
        assert!((all - 1000.0).abs() < 1e-6, "{flow:?}");
        assert!((flow.direct_per_s - 1000.0 * 2.0 / 3600.0).abs() < 1e-6);
        assert!((flow.short_per_s - 1000.0 * 898.0 / 3600.0).abs() < 1e-6);
    }

    #[test]
    fn a_long_record_costs_what_was_computed_by_hand() {
        // 64 MiB of memory, half of it for groups: 18,915 records of 1,774 bytes, and twice 18.9 s of wait at 1,000/s. λ = 1000 · 300 /
        // 85,500 = 3.51/s a bucket: 133.7 records, 1,124 bytes each, packed 5.37 times: 28.1 KB with the keys, 28 write units, and
        // less than 8 KB for each of four shards. 0.21 a record are $0.13 a million.
        let flow = of(1000.0, 900.0, 86_400.0);
        assert!((flow.records_per_batch - 133.7).abs() < 0.5, "{flow:?}");
        assert!((flow.billed.writes - 209.0).abs() < 3.0, "{flow:?}");
        // 3 messages a second, sent, received and deleted.
        assert!((flow.messages_per_s - 3.0).abs() < 0.01, "{flow:?}");
        let usd = usd_per_million(&flow, 1000.0);
        assert!((0.13..0.16).contains(&usd), "{usd}");
    }

    #[test]
    fn a_bucket_that_fills_batches_in_each_shard_is_spread_over_them() {
        // One delay: all records of a second are due in the same bucket.
        let flow = of(1000.0, 1800.0, 1800.0);
        // Each shard's group is full long before memory is short: 591 records of 1,774 bytes are 1 MiB.
        assert!((flow.records_per_batch - 591.0).abs() < 1.0, "{flow:?}");
        assert!((flow.messages_per_s - 12.0).abs() < 0.01, "{flow:?}");
        // Half the rate in a bucket for each of two routers.
        let group = |routers| {
            let config = config();
            let model = Model {
                rate: 10.0,
                size: 1024.0,
                delays: Delays {
                    from_s: 1800.0,
                    to_s: 1800.0,
                },
                assumed: Assumed {
                    routers,
                    ..assumed()
                },
                config: &config,
            };
            model.bucket_group(1800.0)
        };
        // 601 records are 120 KB, more than 8 KB for each: 151 in each of four.
        let one = group(1.0);
        assert!((one.records - 151.0).abs() < 1e-6 && one.shards == 4.0);
        // 101 are 20 KB: together.
        let six = group(6.0);
        assert!((six.records - 101.0).abs() < 1e-6 && six.shards == 1.0);
    }

    #[test]
    fn company_makes_records_cheaper() {
        let each = |rate: f64| usd_per_million(&of(rate, 3.0, 60.0), rate);
        assert!(each(10.0) > each(100.0) && each(100.0) > each(1000.0));
        assert!(each(1000.0) < 0.05, "{}", each(1000.0));
    }

    #[test]
    fn one_item_a_record_is_two_writes_and_three_messages() {
        let billed = one_item_a_record(Rate(1.0), Size(1024.0));
        assert_eq!((billed.writes, billed.reads, billed.sqs), (4.0, 0.5, 3.0));
        let usd = billed.usd_per_s() * 1e6;
        assert!((3.6..3.9).contains(&usd), "{usd}");
    }
}
