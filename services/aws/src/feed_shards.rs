//! Which shards of a stream are read, from where, and when. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// Between two reads of a shard that has changes.
const READ_EVERY: Duration = Duration::from_millis(250);
/// Between two reads of one that has had none for a while, and after a failure.
const READ_EVERY_IDLE: Duration = Duration::from_secs(1);

/// A shard as the stream lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Id.
    pub(crate) id: String,
    /// The shard that it goes on from.
    pub(crate) parent: Option<String>,
    /// Whether changes are still added to it.
    pub(crate) open: bool,
}

/// A place in a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// After all that is there.
    Now,
    /// Before all that is there.
    Beginning,
    /// After the change with this sequence number.
    After(String),
}

/// A shard to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    /// Its id.
    pub(crate) shard: String,
    /// From where.
    pub(crate) place: Place,
    /// The iterator that stands there, if there is one.
    pub(crate) iterator: Option<String>,
}

/// How a read has left a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// The iterator of the next read.
    Iterator(String),
    /// An iterator from there is needed.
    From(Place),
    /// It is not known any more what comes next: the same, and changes may be missed.
    Lost(Place),
    /// There is no more, and never will be.
    End,
}

#[derive(Debug)]
struct Shard {
    parent: Option<String>,
    place: Place,
    iterator: Option<String>,
    ended: bool,
    read_at: Instant,
    wait: Duration,
}

/// The shards of a stream that are known.
#[derive(Debug, Default)]
pub(crate) struct Shards(BTreeMap<String, Shard>);

impl Shards {
    /// Those of a stream at the start: what is in them by now is not read.
    pub(crate) fn start(listed: Vec<Listed>, now: Instant) -> Self {
        let shards = listed.into_iter().map(|one| {
            let ended = !one.open;
            (one.id, Shard::new(one.parent, Place::Now, ended, now))
        });
        Self(shards.collect())
    }

    /// Takes in those that are new, and forgets those that are gone; answers whether one is gone that was not read to its end.
    pub(crate) fn update(&mut self, listed: Vec<Listed>, now: Instant) -> bool {
        let mut there = BTreeSet::new();
        for one in listed {
            there.insert(one.id.clone());
            let new = || Shard::new(one.parent, Place::Beginning, false, now);
            self.0.entry(one.id).or_insert_with(new);
        }
        let before = self.unfinished();
        self.0.retain(|id, _| there.contains(id));
        self.unfinished() < before
    }

    fn unfinished(&self) -> usize {
        self.0.values().filter(|shard| !shard.ended).count()
    }

    /// Those that can be read at all: their parents were read to the end.
    fn readable(&self) -> impl Iterator<Item = (&String, &Shard)> {
        let ended = |id: &String| self.0.get(id).is_none_or(|parent| parent.ended);
        let open = self.0.iter().filter(|(_, shard)| !shard.ended);
        open.filter(move |(_, shard)| shard.parent.as_ref().is_none_or(ended))
    }

    /// Those whose time has come.
    pub(crate) fn due(&self, now: Instant) -> Vec<Due> {
        let due = self.readable().filter(|(_, shard)| shard.read_at <= now);
        due.map(|(id, shard)| Due {
            shard: id.clone(),
            place: shard.place.clone(),
            iterator: shard.iterator.clone(),
        })
        .collect()
    }

    /// When the next one is due, if there is any.
    pub(crate) fn next_read(&self) -> Option<Instant> {
        self.readable().map(|(_, shard)| shard.read_at).min()
    }

    /// A shard was read, up to the change `last` if there were any.
    pub(crate) fn was_read(&mut self, id: &str, last: Option<String>, next: Next, now: Instant) {
        let Some(shard) = self.0.get_mut(id) else {
            return;
        };
        shard.wait = match last {
            Some(_) => READ_EVERY,
            None => shard.wait.saturating_mul(2).min(READ_EVERY_IDLE),
        };
        shard.read_at = now + shard.wait;
        if let Some(last) = last {
            shard.place = Place::After(last);
        }
        shard.iterator = None;
        match next {
            Next::Iterator(iterator) => shard.iterator = Some(iterator),
            Next::From(place) | Next::Lost(place) => shard.place = place,
            Next::End => shard.ended = true,
        }
    }

    /// An iterator was obtained ahead of the first read.
    pub(crate) fn stands(&mut self, id: &str, iterator: String) {
        if let Some(shard) = self.0.get_mut(id) {
            shard.iterator = Some(iterator);
        }
    }

    /// Reading a shard has failed: again, later.
    pub(crate) fn has_failed(&mut self, id: &str, now: Instant) {
        if let Some(shard) = self.0.get_mut(id) {
            shard.read_at = now + READ_EVERY_IDLE;
        }
    }
}

impl Shard {
    fn new(parent: Option<String>, place: Place, ended: bool, now: Instant) -> Self {
        Self {
            parent,
            place,
            iterator: None,
            ended,
            read_at: now,
            wait: READ_EVERY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, parent: Option<&str>, open: bool) -> Listed {
        Listed {
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            open,
        }
    }

    fn due(shards: &Shards, now: Instant) -> Vec<(String, Place)> {
        let due = shards.due(now).into_iter();
        due.map(|due| (due.shard, due.place)).collect()
    }

    fn at(id: &str, place: Place) -> (String, Place) {
        (id.to_owned(), place)
    }

    #[tokio::test]
    async fn a_child_is_read_from_its_beginning_once_its_parent_has_ended() {
        let now = Instant::now();
        let later = now + READ_EVERY_IDLE;
        let old = listed("a", None, false);
        let first = vec![old.clone(), listed("b", Some("a"), true)];
        let mut shards = Shards::start(first, now);
        assert_eq!(due(&shards, now), [at("b", Place::Now)]);
        let children = vec![
            old,
            listed("b", Some("a"), false),
            listed("c", Some("b"), false),
            listed("d", Some("c"), true),
        ];
        assert!(!shards.update(children, now));
        assert_eq!(due(&shards, now), [at("b", Place::Now)]);
        shards.was_read("b", Some("7".to_owned()), Next::End, now);
        assert_eq!(due(&shards, now), [at("c", Place::Beginning)]);
        shards.was_read("c", None, Next::Iterator("i".to_owned()), now);
        assert_eq!(due(&shards, later), [at("c", Place::Beginning)]);
        shards.was_read("c", None, Next::End, now);
        assert_eq!(due(&shards, now), [at("d", Place::Beginning)]);
    }

    #[tokio::test]
    async fn a_shard_goes_on_where_it_was() {
        let now = Instant::now();
        let later = now + READ_EVERY_IDLE;
        let mut shards = Shards::start(vec![listed("a", None, true)], now);
        let due = |shards: &Shards, place, iterator: Option<&str>| {
            let expected = Due {
                shard: "a".to_owned(),
                place,
                iterator: iterator.map(str::to_owned),
            };
            assert_eq!(shards.due(later), [expected]);
        };
        shards.stands("a", "1".to_owned());
        due(&shards, Place::Now, Some("1"));
        shards.has_failed("a", now);
        due(&shards, Place::Now, Some("1"));
        let seven = || Place::After("7".to_owned());
        let two = Next::Iterator("2".to_owned());
        shards.was_read("a", Some("7".to_owned()), two, now);
        due(&shards, seven(), Some("2"));
        shards.was_read("a", None, Next::From(seven()), now);
        due(&shards, seven(), None);
        shards.was_read("a", None, Next::Lost(Place::Beginning), now);
        due(&shards, Place::Beginning, None);
    }

    #[tokio::test]
    async fn what_is_idle_is_read_less_often() {
        let now = Instant::now();
        let mut shards = Shards::start(vec![listed("a", None, true)], now);
        let mut wait = |last: Option<&str>| {
            let next = Next::Iterator("i".to_owned());
            shards.was_read("a", last.map(str::to_owned), next, now);
            shards.next_read().unwrap().duration_since(now).as_millis()
        };
        let waits = [Some("1"), None, None, None, None, Some("2")].map(&mut wait);
        assert_eq!(waits, [250, 500, 1_000, 1_000, 1_000, 250]);
    }

    #[tokio::test]
    async fn what_is_gone_is_forgotten_and_told_unless_it_had_ended() {
        let now = Instant::now();
        let all = vec![listed("a", None, true), listed("b", None, false)];
        let mut shards = Shards::start(all, now);
        assert!(!shards.update(vec![listed("a", None, true)], now));
        assert!(shards.update(vec![listed("c", Some("a"), true)], now));
        assert_eq!(due(&shards, now), [at("c", Place::Beginning)]);
        assert!(!shards.update(vec![listed("c", Some("a"), true)], now));
    }
}
