//! Packs groups whose time has come and hands them over; pauses intake when memory is short.

use std::time::Duration;

use delayq_core::clock::EpochMs;
use delayq_core::packer::Packed;
use delayq_core::ports::RecordSource;
use delayq_core::priority::Priority;
use delayq_core::record::QueueGroup;
use delayq_delivery::queue::Sent;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{HEARTBEAT, Router};
use crate::long::LongKey;
use crate::metrics as names;
use crate::partitions::Ticket;
use crate::sharding::WELL_FILLED_BYTES;

/// How long intake waits for room before it pauses the partitions: longer than calls take while all is well, shorter than the
/// source's own patience with a reader that is behind.
const PAUSE_AFTER: Duration = Duration::from_millis(250);
/// Groups sent in one task, at most: one SQS call holds ten messages.
const GROUPS_PER_CALL: usize = 10;

impl Router {
    /// Closes groups whose time has come, and the oldest ones when memory runs short.
    pub(super) fn pack(&mut self) {
        let now_ms = self.clock.now_ms();
        self.fit_groups();
        for group in self.short.take_due(now_ms) {
            self.short_ready_push(group);
        }
        for group in self.long_groups.take_due(now_ms) {
            self.long_ready_push(group, now_ms);
        }
        self.make_room(now_ms);
    }

    /// What waits for company must not keep intake waiting. While the long tier takes no more at once, its groups grow instead.
    fn make_room(&mut self, now_ms: EpochMs) {
        let room = if self.over_since.is_some() {
            self.settings.memory_bytes / 4
        } else {
            self.settings.memory_bytes / 2
        };
        let (short, long) = (self.short.held_bytes(), self.long_groups.held_bytes());
        let Some(over) = (short + long).checked_sub(room).filter(|over| *over > 0) else {
            return;
        };
        // Some more, so that this is not done anew for every record; each path gives its share.
        let wanted = over + room / 8;
        let share =
            |held: usize| (wanted as u128 * held as u128).div_ceil((short + long) as u128) as usize;
        for group in self.short.take_fullest(share(short)) {
            self.short_ready_push(group);
        }
        if self.long_ready.is_empty() {
            for group in self.long_groups.take_fullest(share(long)) {
                self.long_ready_push(group, now_ms);
            }
        }
    }

    /// A group closes when it is expected to fill a message, or a batch.
    fn fit_groups(&mut self) {
        let most_bytes = self.settings.group_raw_bytes;
        let short_bytes = self.sender.full_message_bytes().min(most_bytes);
        let long_bytes = self.long.full_batch_bytes().min(most_bytes);
        self.short.close_at(short_bytes);
        self.long_groups.close_at(long_bytes);
        metrics::gauge!(names::GROUP_BYTES, "path" => "short").set(short_bytes as f64);
        metrics::gauge!(names::GROUP_BYTES, "path" => "long").set(long_bytes as f64);
        metrics::gauge!(names::WIDE_BUCKETS).set(self.sharding.wide() as f64);
    }

    pub(super) fn pack_everything(&mut self) {
        while let Some(group) = self.short.take_oldest() {
            self.short_ready_push(group);
        }
        while let Some(group) = self.long_groups.take_oldest() {
            self.long_ready.push_back(group);
        }
    }

    /// A group that leaves before it is full.
    fn long_ready_push(&mut self, group: Packed<LongKey, Ticket>, now_ms: EpochMs) {
        let well_filled_bytes = self.long.memory_of(WELL_FILLED_BYTES);
        self.sharding
            .left(group.key, group.memory_bytes(), well_filled_bytes, now_ms);
        self.long_ready.push_back(group);
    }

    pub(super) fn short_ready_push(&mut self, group: Packed<QueueGroup, Ticket>) {
        if let Some(queue) = self.short_ready.get_mut(group.key.priority.index()) {
            queue.push_back(group);
        }
    }

    /// Starts calls, high priority first. Each tier has a limit of its own: a broken one holds up no other.
    pub(super) fn dispatch(&mut self) {
        for priority in Priority::ALL {
            let Some(queue) = self.short_ready.get_mut(priority.index()) else {
                continue;
            };
            while !queue.is_empty() {
                let count = queue.len().min(GROUPS_PER_CALL);
                let groups: Vec<_> = queue.drain(..count).map(|group| group.items).collect();
                let (sender, reports) = (self.sender.clone(), self.reports.clone());
                self.tasks.spawn(async move {
                    sender
                        .send(priority, groups, Ticket::is_alive, |sent| {
                            report(&reports, sent)
                        })
                        .await;
                });
            }
        }
        // Each of these is encoded at once and waits for its turn: so many as have one soon.
        while let Ok(slot) = self.long_slots.clone().try_acquire_owned() {
            let Some(group) = self.long_ready.pop_front() else {
                break;
            };
            let (long, reports) = (self.long.clone(), self.reports.clone());
            self.tasks.spawn(async move {
                long.write(group.key, group.items, |sent| report(&reports, sent))
                    .await;
                drop(slot);
            });
        }
    }

    /// Whether the source is listened to: above the memory limit only once it is paused, for what it says of partitions.
    pub(super) const fn takes_in(&self) -> bool {
        self.over_since.is_none() || self.paused || self.intake_ended
    }

    /// Stops intake above the memory limit. Calls under way soon make room: so it waits first, and pauses the partitions
    /// only when that has not helped, since a pause drops what the client has fetched. Resumes at half of the limit.
    pub(super) fn relieve(&mut self, source: &dyn RecordSource) {
        metrics::gauge!(names::HELD_BYTES).set(self.held_bytes as f64);
        if self.held_bytes > self.settings.memory_bytes {
            self.over_since.get_or_insert_with(Instant::now);
        } else if !self.paused || self.held_bytes <= self.settings.memory_bytes / 2 {
            self.over_since = None;
        }
        let waited = self
            .over_since
            .is_some_and(|at| at.elapsed() >= PAUSE_AFTER);
        if self.intake_ended {
            if self.newly_assigned {
                source.pause(&self.partitions.all());
            }
        } else if (!self.paused && waited) || (self.paused && self.newly_assigned) {
            source.pause(&self.partitions.all());
            self.paused = true;
        } else if self.paused && self.held_bytes <= self.settings.memory_bytes / 2 {
            let crowded = &self.crowded;
            let free: Vec<_> = self
                .partitions
                .all()
                .into_iter()
                .filter(|p| !crowded.contains(p))
                .collect();
            source.resume(&free);
            self.paused = false;
        }
        self.newly_assigned = false;
        metrics::gauge!(names::PAUSED).set(f64::from(u8::from(self.paused)));
    }

    pub(super) fn next_wake(&self, stop_by: Option<Instant>) -> Instant {
        let now = Instant::now();
        let now_ms = self.clock.now_ms();
        // A clock that jumps makes groups due that are not waited for.
        let latest = HEARTBEAT.min(self.settings.publish.clock_check);
        let packs = [
            self.short.next_deadline_ms(),
            self.long_groups.next_deadline_ms(),
        ];
        let packs = packs.into_iter().flatten().map(|at_ms| {
            now + Duration::from_millis(at_ms.saturating_sub(now_ms).max(0).unsigned_abs())
        });
        let pause = self
            .over_since
            .filter(|_| !self.paused && !self.intake_ended);
        let revokes = self.revokes.iter().map(|r| r.deadline);
        packs
            .chain(revokes)
            .chain(stop_by)
            .chain(pause.map(|at| at + PAUSE_AFTER))
            .fold(now + latest, Instant::min)
    }
}

fn report(reports: &mpsc::UnboundedSender<Sent<Ticket>>, sent: Sent<Ticket>) {
    if reports.send(sent).is_err() {
        tracing::debug!("records were confirmed after the router had ended: they are read again");
    }
}
