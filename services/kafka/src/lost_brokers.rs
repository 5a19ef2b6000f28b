//! A client that has no broker left to ask is told `bootstrap_servers` again.
//!
//! librdkafka forgets the brokers that an answer about the cluster does not name. Where it names none (the only broker
//! is fenced, as after a laptop slept; a broker answers before it knows the others) the client is left with nobody to
//! ask, and sometimes (once 1 of 24 clients, with 2.12.1) never connects again:
//! <https://github.com/confluentinc/librdkafka/issues/5301>. Its statistics show it.
#![allow(unsafe_code, reason = "the safe wrapper cannot add brokers")]

use std::ffi::CString;
use std::sync::OnceLock;

use delayq_core::error::{ErrorClass, PortError};
use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::statistics::Statistics;

use crate::metrics;

/// Where the brokers are, for the context of one client.
pub(crate) struct LostBrokers {
    /// The client, as errors name it: `kafka consumer`.
    operation: &'static str,
    client: OnceLock<(Native, CString)>,
}

struct Native(*mut rd::rd_kafka_t);

// SAFETY: librdkafka's handle may be used from any thread.
unsafe impl Send for Native {}
// SAFETY: as above.
unsafe impl Sync for Native {}

impl LostBrokers {
    pub(crate) fn new(operation: &'static str) -> Self {
        Self {
            operation,
            client: OnceLock::new(),
        }
    }

    /// Looks after this client from now on: the one whose context owns `self`.
    pub(crate) fn look_after<C: ClientContext>(
        &self,
        client: &Client<C>,
        bootstrap_servers: &str,
    ) -> Result<(), PortError> {
        let servers = CString::new(bootstrap_servers).map_err(|error| {
            let detail = format!("kafka.bootstrap_servers: {error}");
            PortError::new(ErrorClass::Misconfigured, self.operation, detail)
        })?;
        self.client
            .get_or_init(|| (Native(client.native_ptr()), servers));
        Ok(())
    }

    /// To be called in the statistics callback, and only there. Answers with the problem if the client had lost all its brokers;
    /// it has been given some again.
    pub(crate) fn find(&self, statistics: &Statistics) -> Option<PortError> {
        let mut brokers = statistics.brokers.values();
        if brokers.any(|broker| matches!(&*broker.source, "learned" | "configured")) {
            return None;
        }
        let (Native(client), servers) = self.client.get()?;
        // SAFETY: librdkafka calls back only while the client lives, and holds no lock then; the call copies the text.
        let added = unsafe { rd::rd_kafka_brokers_add(*client, servers.as_ptr()) };
        let client_kind = self.operation.trim_start_matches("kafka ");
        ::metrics::counter!(metrics::BROKERS_LOST.name, "client" => client_kind).increment(1);
        let servers = servers.to_string_lossy();
        tracing::warn!(
            client = client_kind,
            added,
            "the cluster named no broker; asking {servers} again"
        );
        Some(PortError::new(
            ErrorClass::Transient,
            self.operation,
            format!("the cluster names no broker; {servers} is asked again"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use rdkafka::ClientConfig;
    use rdkafka::config::FromClientConfigAndContext;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};

    struct Watched {
        brokers: LostBrokers,
        found: AtomicUsize,
    }

    impl ClientContext for Watched {
        fn stats(&self, statistics: Statistics) {
            let found = self.brokers.find(&statistics);
            self.found
                .fetch_add(usize::from(found.is_some()), Ordering::Relaxed);
        }
    }

    impl ProducerContext for Watched {
        type DeliveryOpaque = ();

        fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
    }

    fn client(config: &ClientConfig, cluster: &str) -> BaseProducer<Watched> {
        let context = Watched {
            brokers: LostBrokers::new("kafka producer"),
            found: AtomicUsize::new(0),
        };
        let client: BaseProducer<Watched> =
            BaseProducer::from_config_and_context(config, context).expect("a client");
        let brokers = &client.context().brokers;
        brokers.look_after(client.client(), cluster).expect("text");
        client
    }

    #[test]
    fn a_client_without_brokers_is_given_its_bootstrap_servers() {
        let cluster = MockCluster::new(1).expect("a cluster");
        // As one that lost them: none were ever told to it.
        let mut config = ClientConfig::new();
        config.set("statistics.interval.ms", "1000");
        let lost = client(&config, &cluster.bootstrap_servers());
        let found = || lost.context().found.load(Ordering::Relaxed);
        let polled = |_| {
            lost.poll(Duration::from_millis(50));
            found() > 0
        };
        assert!((0..600).any(polled), "its statistics come");
        let asked = lost.client().fetch_metadata(None, Duration::from_secs(30));
        assert_eq!(asked.expect("it has a broker").brokers().len(), 1);
        for _ in 0..30 {
            lost.poll(Duration::from_millis(50));
        }
        assert_eq!(found(), 1, "told once");
    }

    #[test]
    fn one_that_has_brokers_is_left_alone_even_if_none_answers() {
        let mut config = ClientConfig::new();
        config.set("statistics.interval.ms", "50");
        config.set("bootstrap.servers", "127.0.0.1:1");
        let waits = client(&config, "127.0.0.1:1");
        for _ in 0..20 {
            waits.poll(Duration::from_millis(50));
        }
        assert_eq!(waits.context().found.load(Ordering::Relaxed), 0);
    }
}
