//! Members of a consumer group that run by themselves and commit what they received when it is revoked.

use std::collections::{BTreeMap, BTreeSet};

use delayq_core::ports::{Commit, RecordSource, SourceEvent};
use delayq_core::record::{Incoming, TopicPartition};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::text;
use crate::within;

type Name = &'static str;

/// What a member did, in its order.
enum Did {
    Got(TopicPartition),
    GaveUp(TopicPartition),
    Received(String),
}

/// The members, and what they did as far as was asked.
pub(super) struct Members {
    running: BTreeMap<Name, (oneshot::Sender<()>, JoinHandle<()>)>,
    said: mpsc::UnboundedSender<(Name, Did)>,
    heard: mpsc::UnboundedReceiver<(Name, Did)>,
    owned: BTreeMap<Name, BTreeSet<TopicPartition>>,
    revoked: BTreeMap<Name, usize>,
    received: Vec<(Name, String)>,
}

impl Default for Members {
    fn default() -> Self {
        let (said, heard) = mpsc::unbounded_channel();
        Self {
            running: BTreeMap::new(),
            said,
            heard,
            owned: BTreeMap::new(),
            revoked: BTreeMap::new(),
            received: Vec::new(),
        }
    }
}

impl Members {
    pub(super) fn start(&mut self, name: Name, source: Box<dyn RecordSource>) {
        let (stop, stopped) = oneshot::channel();
        let member = Member {
            name,
            source,
            said: self.said.clone(),
            next: BTreeMap::new(),
        };
        let task = tokio::spawn(member.run(stopped));
        self.running.insert(name, (stop, task));
    }

    /// Leaves the group and waits until it has.
    pub(super) async fn close(&mut self, name: Name) {
        let (stop, task) = self.running.remove(name).expect("it was started");
        stop.send(()).expect("it runs until it is stopped");
        within(60, "the member leaves", task).await.unwrap();
        self.catch_up();
        assert!(self.owned(name).is_empty(), "what it held was revoked");
    }

    pub(super) async fn until_owned(&mut self, name: Name, count: usize) {
        self.until(name, |members| members.owned(name).len() == count)
            .await;
    }

    pub(super) async fn until_received(&mut self, count: usize) {
        self.until("all records received", |members| {
            members.received.len() >= count
        })
        .await;
    }

    async fn until(&mut self, what: &str, done: impl Fn(&mut Self) -> bool) {
        within(60, what, async {
            while !done(self) {
                let (name, did) = self.heard.recv().await.expect("a sender is kept here");
                self.note(name, did);
            }
        })
        .await;
    }

    fn catch_up(&mut self) {
        while let Ok((name, did)) = self.heard.try_recv() {
            self.note(name, did);
        }
    }

    fn note(&mut self, name: Name, did: Did) {
        match did {
            Did::Received(text) => self.received.push((name, text)),
            Did::GaveUp(partition) => {
                *self.revoked.entry(name).or_default() += 1;
                let owned = self.owned.entry(name).or_default();
                assert!(owned.remove(&partition), "{name} revoked {partition} twice");
            }
            Did::Got(partition) => {
                let holder = self
                    .owned
                    .iter()
                    .find(|(_, owned)| owned.contains(&partition));
                assert!(
                    holder.is_none(),
                    "{partition} of {holder:?} is given to {name}"
                );
                self.owned.entry(name).or_default().insert(partition);
            }
        }
    }

    pub(super) fn owned(&self, name: Name) -> BTreeSet<TopicPartition> {
        self.owned.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn revoked(&self, name: Name) -> usize {
        self.revoked.get(name).copied().unwrap_or(0)
    }

    pub(super) fn has_received(&self, name: Name) -> bool {
        self.received.iter().any(|(by, _)| *by == name)
    }

    pub(super) fn received(&mut self) -> Vec<String> {
        self.catch_up();
        self.received.iter().map(|(_, text)| text.clone()).collect()
    }
}

struct Member {
    name: Name,
    source: Box<dyn RecordSource>,
    said: mpsc::UnboundedSender<(Name, Did)>,
    /// Next offset of each partition held.
    next: BTreeMap<TopicPartition, Option<i64>>,
}

impl Member {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut stopping = false;
        loop {
            tokio::select! {
                event = self.source.next() => match event {
                    Some(event) => self.handle(event),
                    None => return,
                },
                _ = &mut stopped, if !stopping => {
                    stopping = true;
                    self.source.close();
                }
            }
        }
    }

    fn handle(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Assigned(assigned) => {
                for a in assigned {
                    self.say(Did::Got(a.partition.clone()));
                    self.next.insert(a.partition, a.committed);
                }
            }
            SourceEvent::Records(records) => records.iter().for_each(|r| self.receive(r)),
            SourceEvent::Revoked { partitions, reply } => {
                let mut commits = Vec::new();
                for partition in partitions {
                    self.say(Did::GaveUp(partition.clone()));
                    let next = self.next.remove(&partition).expect("it was held");
                    commits.extend(next.map(|offset| Commit {
                        partition,
                        offset,
                        metadata: String::new(),
                    }));
                }
                reply.send(commits);
            }
            other => panic!("{}: {other:?}", self.name),
        }
    }

    fn receive(&mut self, record: &Incoming) {
        let at = &record.source.at;
        let next = self.next.get_mut(at);
        let next = next.unwrap_or_else(|| panic!("a record of {at}, which is not held"));
        assert_eq!(record.source.offset, next.unwrap_or(0), "a gap in {at}");
        *next = Some(record.source.offset + 1);
        self.say(Did::Received(text(record).to_owned()));
    }

    fn say(&self, did: Did) {
        self.said
            .send((self.name, did))
            .expect("the check listens until all have left");
    }
}
