//! Why no broker answers. librdkafka's errors say "timed out"; its log says why, which is what a command's user needs: a
//! refused connection, a name that does not resolve, a listener that wants TLS, a wrong password.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use delayq_core::error::{ErrorClass, PortError};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};

use crate::login::{self, Tokens};
use crate::settings::KafkaSettings;
use crate::sync::lock;
use crate::{client_log, errors};

/// How long a second look at an unanswering broker may take.
const LOOK: Duration = Duration::from_secs(2);
/// Events that one look leaves behind, at most.
const EVENTS_MAX: usize = 100;

/// "HTTP", taken for the length of an answer.
const HTTP_FOR_A_LENGTH: &str = "1213486160";

/// The context of a client that lives for a command: keeps the last reason of a failed connection.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    reason: Arc<Mutex<Option<String>>>,
    tokens: Option<Tokens>,
}

impl Heard {
    pub(crate) fn new(kafka: &KafkaSettings) -> Self {
        Self {
            reason: Arc::default(),
            tokens: kafka.tokens.clone(),
        }
    }

    /// The reason of a failed connection, if one was told.
    pub(crate) fn reason(&self) -> Option<String> {
        lock(&self.reason).clone()
    }

    fn note(&self, fac: &str, line: &str) {
        // "[thrd:host:port/bootstrap]: host:port/bootstrap: Connect to … failed: Connection refused (after …)"
        if !matches!(fac, "FAIL" | "ERROR") {
            return;
        }
        let line = line
            .strip_prefix("[thrd:")
            .and_then(|rest| rest.split_once("]: "))
            .map_or(line, |(_, said)| said);
        let line = line.rsplit_once(" (after ").map_or(line, |(said, _)| said);
        let mut last = lock(&self.reason);
        // That all brokers are down follows from each being down: the cause is worth more.
        if last.is_none() || !line.contains("brokers are down") {
            *last = Some(line.to_owned());
        }
    }
}

impl ClientContext for Heard {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        login::answer(self.tokens.as_ref())
    }

    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.note(fac, log_message);
        client_log::forward("command", level, fac, log_message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note("ERROR", reason);
        tracing::debug!(%error, reason, "kafka client of a command");
    }
}

impl ConsumerContext for Heard {}

impl ProducerContext for Heard {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Whether this says that nobody answered, rather than what somebody answered.
pub(crate) fn is_silence(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as C;
    matches!(
        errors::code_of(error),
        C::BrokerTransportFailure
            | C::AllBrokersDown
            | C::OperationTimedOut
            | C::RequestTimedOut
            | C::MessageTimedOut
            | C::Resolve
            | C::Authentication
            | C::SSL
    )
}

/// Looks again, with a client whose log can be read, and says why nobody answers (for 2 s at most).
pub(crate) async fn diagnose(operation: &'static str, kafka: &KafkaSettings) -> PortError {
    let settings = kafka.clone();
    let reason = tokio::task::spawn_blocking(move || look(&settings));
    silence(operation, kafka, reason.await.unwrap_or_default())
}

fn look(kafka: &KafkaSettings) -> Option<String> {
    let heard = Heard::new(kafka);
    let client: BaseProducer<Heard> =
        BaseProducer::from_config_and_context(&kafka.admin_config(), heard.clone()).ok()?;
    login::log_in(client.client(), kafka.tokens.as_ref()).ok()?;
    match client.client().fetch_metadata(None, LOOK) {
        // The first contact answers: what fails is what it sends its clients to.
        Ok(metadata) => {
            let brokers = metadata.brokers().iter();
            let names: Vec<_> = brokers
                .map(|broker| format!("{}:{}", broker.host(), broker.port()))
                .collect();
            Some(format!(
                "it sends its clients to {}, its advertised.listeners",
                names.join(", ")
            ))
        }
        Err(_) => {
            for _ in 0..EVENTS_MAX {
                client.poll(Duration::ZERO);
            }
            heard.reason()
        }
    }
}

/// The error for a broker that does not answer, with the reason where one is known.
pub(crate) fn silence(
    operation: &'static str,
    kafka: &KafkaSettings,
    reason: Option<String>,
) -> PortError {
    let is = |word: &str| reason.as_ref().is_some_and(|said| said.contains(word));
    let (class, remedy) = if is(HTTP_FOR_A_LENGTH) {
        (
            ErrorClass::Misconfigured,
            "check kafka.bootstrap_servers: who answers there speaks HTTP, not Kafka",
        )
    } else if is("SASL") || is("security.protocol") || is("SSL") {
        (
            ErrorClass::Misconfigured,
            "check kafka.auth and kafka.properties (security.protocol, sasl.*, ssl.*)",
        )
    } else {
        (
            ErrorClass::Transient,
            "check kafka.bootstrap_servers, and that the broker runs and can be reached from here",
        )
    };
    let servers = &kafka.bootstrap_servers;
    let said = reason.map_or_else(String::new, |said| format!(" ({said})"));
    PortError::new(
        class,
        operation,
        format!("no broker answers at {servers}{said}; {remedy}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(lines: &[(&str, &str)]) -> PortError {
        let heard = Heard::default();
        for (fac, line) in lines {
            heard.note(fac, line);
        }
        let kafka = KafkaSettings {
            bootstrap_servers: "b:1".to_owned(),
            ..KafkaSettings::default()
        };
        silence("kafka Metadata", &kafka, heard.reason())
    }

    #[test]
    fn the_reason_is_told_and_not_its_consequence() {
        let refused = "[thrd:b:1/bootstrap]: b:1/bootstrap: Connect to ipv4#1.2.3.4:1 failed: Connection refused (after 0ms in state CONNECT)";
        let error = explained(&[
            ("FAIL", refused),
            ("ERROR", "1/1 brokers are down"),
            ("GETPWD", "nothing"),
        ]);
        assert_eq!(error.class, ErrorClass::Transient);
        for part in [
            "no broker answers at b:1 (b:1/bootstrap: Connect to ipv4#1.2.3.4:1 failed: Connection refused)",
            "; check kafka.bootstrap_servers",
        ] {
            assert!(error.detail.contains(part), "{error}");
        }
    }

    #[test]
    fn a_refused_login_points_at_the_properties() {
        let error = explained(&[("FAIL", "b:1/bootstrap: SASL authentication error: no")]);
        assert_eq!(error.class, ErrorClass::Misconfigured);
        assert!(error.detail.contains("check kafka.auth"), "{error}");
    }

    #[test]
    fn an_answer_is_no_silence() {
        use RDKafkaErrorCode as C;
        let fetched = |code| is_silence(&KafkaError::MetadataFetch(code));
        assert!(fetched(C::OperationTimedOut) && fetched(C::BrokerTransportFailure));
        assert!(!fetched(C::ClusterAuthorizationFailed) && !fetched(C::UnknownTopic));
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_named_with_the_reason() {
        let kafka = KafkaSettings {
            bootstrap_servers: "127.0.0.1:1".to_owned(),
            ..KafkaSettings::default()
        };
        let error = diagnose("kafka Metadata", &kafka).await;
        assert!(error.detail.contains("Connection refused"), "{error}");
    }
}
