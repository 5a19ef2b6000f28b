//! A page of letters that end together: first done and confirmed, then marked, never the other way round.

use async_trait::async_trait;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::offsets::Token;
use delayq_core::ports::{Commit, Published, RecordSink};
use delayq_core::record::Outgoing;
use delayq_kafka::TopicLog;
use tokio::sync::oneshot;

use super::marks::Marks;
use super::position::Position;

/// A letter that is ready to be sent.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) at: Position,
    pub(super) token: Token,
    pub(super) record: Outgoing,
    pub(super) outlook: String,
}

/// Where marks are kept.
#[async_trait]
pub(super) trait Keep: Send {
    async fn keep(&mut self, commit: Commit) -> Result<(), PortError>;
}

#[async_trait]
impl Keep for TopicLog {
    async fn keep(&mut self, commit: Commit) -> Result<(), PortError> {
        self.commit(commit).await
    }
}

/// What became of each letter of a page, and whether to go on.
pub(super) struct Sent {
    pub(super) done: Vec<(Ready, Result<Published, PortError>)>,
    /// What stopped it: those that are confirmed and not marked will be redriven again.
    pub(super) stopped: Option<PortError>,
}

/// Sends a page, waits until the broker has answered for each of its records, then marks those that it has confirmed.
pub(super) async fn send(
    page: Vec<Ready>,
    sink: &dyn RecordSink,
    marks: &mut Marks,
    keep: &mut dyn Keep,
) -> Sent {
    let mut answers = Vec::with_capacity(page.len());
    for ready in &page {
        let (told, answer) = oneshot::channel();
        let acknowledge = Box::new(move |result| {
            if told.send(result).is_err() {
                tracing::debug!("an acknowledgement came after the command had ended");
            }
        });
        answers.push(match sink.publish(&ready.record, acknowledge) {
            Ok(()) => Some(answer),
            // A page fits into the producer's queue: it takes nothing because it is dead.
            Err(_) => None,
        });
    }
    let mut sent = Sent {
        done: Vec::with_capacity(page.len()),
        stopped: None,
    };
    let mut confirmed = Vec::new();
    for (ready, answer) in page.into_iter().zip(answers) {
        let untold = || {
            PortError::new(
                ErrorClass::Transient,
                "kafka produce",
                "the producer takes nothing",
            )
        };
        let result = match answer {
            Some(answer) => answer.await.unwrap_or_else(|_| Err(untold())),
            None => Err(untold()),
        };
        match &result {
            Ok(_) => confirmed.push(ready.token),
            Err(error) if error.class != ErrorClass::Invalid => {
                sent.stopped.get_or_insert(error.clone());
            }
            Err(_) => {}
        }
        sent.done.push((ready, result));
    }
    if let Err(error) = mark(&confirmed, marks, keep).await {
        sent.stopped = Some(error);
    }
    sent
}

/// Marks letters as done.
pub(super) async fn mark(
    tokens: &[Token],
    marks: &mut Marks,
    keep: &mut dyn Keep,
) -> Result<(), PortError> {
    if tokens.is_empty() {
        return Ok(());
    }
    marks.finish(tokens);
    let commit = marks.commit().map_err(|fault| {
        PortError::new(
            ErrorClass::Invalid,
            "marking dead letters",
            fault.to_string(),
        )
    })?;
    keep.keep(commit).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::ports::Acknowledge;
    use delayq_core::record::{Incoming, Record, Source, TopicPartition};
    use delayq_kafka::LogPartition;
    use std::sync::{Arc, Mutex};

    /// What happened, in order.
    type Events = Arc<Mutex<Vec<String>>>;

    struct Sink {
        events: Events,
        fails: &'static [(i64, ErrorClass)],
    }

    impl RecordSink for Sink {
        fn publish(&self, record: &Outgoing, acknowledge: Acknowledge) -> Result<(), Acknowledge> {
            let offset: i64 = record.topic.parse().unwrap();
            let fails = self.fails.iter().find(|(at, _)| *at == offset);
            let result = match fails {
                Some((_, class)) => Err(PortError::new(*class, "test", "no")),
                None => Ok(Published {
                    partition: 0,
                    offset,
                }),
            };
            let events = self.events.clone();
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                events.lock().unwrap().push(format!("answered {offset}"));
                acknowledge(result);
            });
            Ok(())
        }

        fn health(&self) -> Result<(), PortError> {
            Ok(())
        }
    }

    struct Kept {
        events: Events,
        fails: bool,
    }

    #[async_trait]
    impl Keep for Kept {
        async fn keep(&mut self, commit: Commit) -> Result<(), PortError> {
            self.events
                .lock()
                .unwrap()
                .push(format!("marked up to {}", commit.offset));
            if self.fails {
                return Err(PortError::new(ErrorClass::Conflict, "test", "another"));
            }
            Ok(())
        }
    }

    async fn run(fails: &'static [(i64, ErrorClass)], keep_fails: bool) -> (Sent, Vec<String>) {
        let events = Events::default();
        let partition = LogPartition {
            partition: 0,
            start: 0,
            end: 3,
            committed: None,
            metadata: None,
        };
        let mut marks = Marks::new("dead", &partition);
        let mut page = Vec::new();
        for offset in 0..3 {
            let incoming = Incoming {
                source: Source {
                    at: TopicPartition::new("dead", 0),
                    offset,
                },
                leader_epoch: Some(0),
                timestamp_ms: None,
                record: Record::default(),
                malformed: None,
            };
            page.push(Ready {
                at: Position {
                    partition: 0,
                    offset,
                },
                token: marks.deliver(&incoming).unwrap().unwrap(),
                record: Outgoing::standard(Arc::from(offset.to_string()), Record::default()),
                outlook: String::new(),
            });
        }
        let sink = Sink {
            events: events.clone(),
            fails,
        };
        let mut keep = Kept {
            events: events.clone(),
            fails: keep_fails,
        };
        let sent = send(page, &sink, &mut marks, &mut keep).await;
        let events = events.lock().unwrap().clone();
        (sent, events)
    }

    #[tokio::test]
    async fn nothing_is_marked_before_all_of_the_page_is_answered() {
        let (sent, events) = run(&[], false).await;
        assert!(sent.stopped.is_none());
        assert_eq!(events.last().unwrap(), "marked up to 3");
        assert_eq!(events.len(), 4, "{events:?}");
    }

    #[tokio::test]
    async fn what_is_not_confirmed_is_not_marked() {
        let (sent, events) = run(&[(1, ErrorClass::Invalid)], false).await;
        assert!(
            sent.stopped.is_none(),
            "the record's own fault stops nobody"
        );
        assert_eq!(events.last().unwrap(), "marked up to 1");
        assert!(sent.done[1].1.is_err());
        let (sent, events) = run(&[(0, ErrorClass::Transient)], false).await;
        assert!(sent.stopped.is_some());
        assert_eq!(events.last().unwrap(), "marked up to 0");
    }

    #[tokio::test]
    async fn a_mark_that_fails_stops_it() {
        let (sent, _) = run(&[], true).await;
        assert_eq!(sent.stopped.unwrap().class, ErrorClass::Conflict);
        assert!(sent.done.iter().all(|(_, result)| result.is_ok()));
    }
}
