//! What a caller may choose, and what it gets: components, ports, endpoints.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::error::StackError;

/// A process of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Apache Kafka, broker and controller in one. Keeps its data over [`kill`](crate::Stack::kill) and restart.
    Kafka,
    /// ElasticMQ, as SQS. In memory: a restart has no queues and no messages, unless [`StackOptions::keep_messages`].
    ElasticMq,
    /// DynamoDB Local. Keeps its tables over kill and restart.
    DynamoDb,
}

impl Component {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Kafka, Self::ElasticMq, Self::DynamoDb];

    /// Name in paths, logs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::ElasticMq => "elasticmq",
            Self::DynamoDb => "dynamodb",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which ports to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Free ones, leased for the stack's lifetime so that a restart finds its port free.
    Free,
    /// These. A taken one is [`StackError::PortInUse`].
    Fixed {
        /// Kafka's client listener.
        kafka: u16,
        /// ElasticMQ.
        sqs: u16,
        /// DynamoDB Local.
        dynamodb: u16,
    },
}

/// How to start a stack.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// Default: [`Ports::Free`].
    pub ports: Ports,
    /// Where the work directory is made. Default: `<cargo target>/stack/run`.
    pub dir: Option<PathBuf>,
    /// Default: all. The endpoint of one that is not chosen is the empty string.
    pub components: Vec<Component>,
    /// Broker settings on top of `deploy/local/server.properties`; the last one of a name wins.
    pub kafka_properties: Vec<(String, String)>,
    /// Classes of the broker's plugins (callback handlers, …), after its own jars.
    pub kafka_classes: Vec<PathBuf>,
    /// JVM flags after the default ones (quick start, small heaps), by component; the last one wins.
    pub jvm_flags: BTreeMap<Component, Vec<String>>,
    /// ElasticMQ keeps queues and messages in a file, so that they survive a kill as SQS's do; a tenth of the speed. Default: no.
    pub keep_messages: bool,
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            ports: Ports::Free,
            dir: None,
            components: Component::ALL.to_vec(),
            kafka_properties: Vec::new(),
            kafka_classes: Vec::new(),
            jvm_flags: BTreeMap::new(),
            keep_messages: false,
        }
    }
}

impl StackOptions {
    /// For loads that fill the machine: the optimising compiler, and room for millions of messages in ElasticMQ's heap.
    #[must_use]
    pub fn for_throughput() -> Self {
        let mut options = Self::for_benchmarks(&["-XX:TieredStopAtLevel=4"]);
        // What a run leaves is gone before the next one fills the disk.
        let at_once = ("log.segment.delete.delay.ms".to_owned(), "0".to_owned());
        options.kafka_properties.push(at_once);
        options
    }

    /// For loads that leave room: collector and heap are those of Kafka's own start script, whose pauses are short. The optimising
    /// compiler takes a core for itself in the first half minute under load: warm up before anything is counted.
    #[must_use]
    pub fn for_latency() -> Self {
        Self::for_benchmarks(&[
            "-XX:TieredStopAtLevel=4",
            "-XX:-UseSerialGC",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-Xms1g",
        ])
    }

    fn for_benchmarks(flags: &[&str]) -> Self {
        let with_heap = |heap: &str| {
            let flags = flags.iter().map(|flag| (*flag).to_owned());
            flags.chain([format!("-Xmx{heap}")]).collect()
        };
        Self {
            jvm_flags: [
                (Component::Kafka, with_heap("1g")),
                (Component::ElasticMq, with_heap("8g")),
                (Component::DynamoDb, with_heap("4g")),
            ]
            .into(),
            ..Self::default()
        }
    }
}

/// Where the stack answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `host:port` for `bootstrap.servers`.
    pub kafka: String,
    /// `http://host:port`. Any credentials do; the account is `000000000000`.
    pub sqs: String,
    /// `http://host:port`. Any credentials do.
    pub dynamodb: String,
}

/// The variables that name a running stack.
pub(crate) const ENV_KAFKA: &str = "DELAYQ_STACK_KAFKA";
pub(crate) const ENV_SQS: &str = "DELAYQ_STACK_SQS";
pub(crate) const ENV_DYNAMODB: &str = "DELAYQ_STACK_DYNAMODB";

impl Endpoints {
    /// The endpoints named by the environment, none if no variable is set. Half of them would mix two stacks: an error.
    pub(crate) fn from_env(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, StackError> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        match (get(ENV_KAFKA), get(ENV_SQS), get(ENV_DYNAMODB)) {
            (None, None, None) => Ok(None),
            (Some(kafka), Some(sqs), Some(dynamodb)) => Ok(Some(Self {
                kafka,
                sqs,
                dynamodb,
            })),
            _ => {
                let (set, missing): (Vec<_>, Vec<_>) = [ENV_KAFKA, ENV_SQS, ENV_DYNAMODB]
                    .into_iter()
                    .partition(|name| get(name).is_some());
                Err(StackError::PartialEnv {
                    set: set.join(", "),
                    missing: missing.join(", "),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_variable_means_start_one() {
        assert_eq!(Endpoints::from_env(|_| None).unwrap(), None);
        assert_eq!(Endpoints::from_env(|_| Some(String::new())).unwrap(), None);
    }

    #[test]
    fn two_of_three_variables_are_refused_by_name() {
        let error =
            Endpoints::from_env(|name| (name != ENV_SQS).then(|| "x".to_owned())).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("DELAYQ_STACK_KAFKA, DELAYQ_STACK_DYNAMODB set but not DELAYQ_STACK_SQS"),
            "{text}"
        );
    }
}
