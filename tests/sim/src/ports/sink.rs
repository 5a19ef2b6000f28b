//! The producer side of Kafka. Every record is looked at as it leaves the process: is it early?

use std::sync::Arc;

use delayq_core::clock::Clock;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::headers::{ERROR_CODE, OUT_DUE_MS, OUT_SOURCE};
use delayq_core::ports::{Acknowledge, RecordSink};
use delayq_core::record::{Outgoing, Source};
use delayq_embedded::MemorySink;
use tokio::time::sleep;

use crate::ledger::Cause;
use crate::node::Node;
use crate::weather::{Fate, TIME_OUT, Target};

/// As one process reaches it.
pub struct SimSink {
    /// The process.
    pub node: Arc<Node>,
    /// The broker.
    pub inner: MemorySink,
    /// Lateness above this is noted, in ms; `None`: it may be late.
    pub punctual_ms: Option<i64>,
}

fn source_of(record: &Outgoing) -> Option<Source> {
    record.record.header_text(OUT_SOURCE)?.parse().ok()
}

impl SimSink {
    /// The record leaves now: not before its time, by this process's clock.
    fn look(&self, record: &Outgoing) {
        if record.record.header_text(ERROR_CODE).is_some() {
            return;
        }
        let due_ms = record.record.header_text(OUT_DUE_MS);
        let due_ms: Option<i64> = due_ms.and_then(|text| text.parse().ok());
        let source = record.record.header_text(OUT_SOURCE).unwrap_or("?");
        let late_ms = due_ms.map(|due_ms| self.node.now_ms() - due_ms);
        match late_ms {
            Some(late_ms) if late_ms >= 0 => {
                if self.punctual_ms.is_some_and(|limit_ms| late_ms > limit_ms) {
                    let what = format!("{source} by {} was {late_ms} ms late", self.node.name);
                    self.node.ledger.late(what);
                }
            }
            early => {
                let what = format!(
                    "{source} by {}: {early:?} ms after its due time",
                    self.node.name
                );
                self.node.ledger.early(what);
            }
        }
    }
}

impl RecordSink for SimSink {
    fn publish(&self, record: &Outgoing, acknowledge: Acknowledge) -> Result<(), Acknowledge> {
        let node = self.node.clone();
        if node.is_dead() {
            // Nothing that a dead process does is seen; nobody waits for the acknowledgement.
            drop(acknowledge);
            return Ok(());
        }
        self.look(record);
        let (record, inner) = (record.clone(), self.inner.clone());
        tokio::spawn(async move {
            node.awake().await;
            sleep(node.weather.latency()).await;
            node.awake().await;
            let source = source_of(&record);
            let topic = record.topic.clone();
            let name = source
                .as_ref()
                .map_or_else(String::new, ToString::to_string);
            let fate = node.weather.fate(Target::Kafka, "publish");
            match fate {
                Fate::Failed(error) => {
                    node.note(format_args!("publishing {name} fails: {error}"));
                    node.ledger.fault("failed publish");
                    // A refusal of the brokers that is not the record's fault: "not enough replicas".
                    let error = PortError {
                        class: ErrorClass::Transient,
                        ..error
                    };
                    acknowledge(Err(error));
                }
                Fate::CrashBefore => node.die("crash before a publish"),
                Fate::Answered | Fate::Unanswered(_) | Fate::CrashAfter => {
                    if let (Fate::Unanswered(_), Some(source)) = (&fate, &source) {
                        node.ledger.fault("unanswered publish");
                        node.ledger.blame(Cause::Unanswered, [source.clone()]);
                    }
                    let answered = node.clone();
                    let answer: Acknowledge = Box::new(move |outcome| {
                        let node = answered;
                        if let (Ok(_), Some(source)) = (&outcome, source) {
                            node.note(format_args!("published {source} to {topic}"));
                            node.ledger.published(&node.name, source);
                        }
                        match fate {
                            Fate::CrashAfter => node.die("crash after a publish"),
                            Fate::Unanswered(error) => {
                                tokio::spawn(async move {
                                    sleep(TIME_OUT).await;
                                    acknowledge(outcome.and(Err(error)));
                                });
                            }
                            _ => {
                                tokio::spawn(async move {
                                    sleep(node.weather.latency()).await;
                                    node.awake().await;
                                    acknowledge(outcome);
                                });
                            }
                        }
                    });
                    if let Err(answer) = inner.publish(&record, answer) {
                        let full = PortError::new(ErrorClass::Transient, "publish", "queue full");
                        answer(Err(full));
                    }
                }
            }
        });
        Ok(())
    }

    fn health(&self) -> Result<(), PortError> {
        self.inner.health()
    }
}
