//! What librdkafka's error codes mean: class, text, and the remedy where one is known.

use delayq_core::error::{ErrorClass, PortError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A client that librdkafka refused to build.
pub(crate) fn configuration(operation: &'static str, error: &KafkaError) -> PortError {
    let detail = match error {
        // The error's own text would print the value, which may be a password.
        KafkaError::ClientConfig(_, reason, property, _) => {
            format!("property {property}: {reason}; check kafka.properties")
        }
        other => format!("{other}; check kafka.properties"),
    };
    PortError::new(ErrorClass::Misconfigured, operation, detail)
}

/// Settings with faults.
pub(crate) fn faulty_settings(operation: &'static str, faults: &[String]) -> PortError {
    PortError::new(ErrorClass::Misconfigured, operation, faults.join("; "))
}

/// The code as far as there is one.
pub(crate) fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    match error {
        KafkaError::AdminOp(code) => *code,
        other => other
            .rdkafka_error_code()
            .unwrap_or(RDKafkaErrorCode::Unknown),
    }
}

/// Whether this code says that an operator must act: credentials or permissions.
pub(crate) fn is_access_failure(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as C;
    matches!(
        code,
        C::Authentication
            | C::SSL
            | C::SaslAuthenticationFailed
            | C::UnsupportedSASLMechanism
            | C::IllegalSASLState
            | C::TopicAuthorizationFailed
            | C::GroupAuthorizationFailed
            | C::ClusterAuthorizationFailed
    )
}

/// A failed delivery of one record.
pub(crate) fn delivery(code: RDKafkaErrorCode, topic: &str) -> PortError {
    use RDKafkaErrorCode as C;
    let remedy = match code {
        C::MessageSizeTooLarge | C::InvalidMessageSize | C::MessageBatchTooLarge => {
            "the record with its added headers, or the batch it went in, exceeds the topic's max.message.bytes \
             (or kafka.message_max)"
        }
        C::InvalidMessage => "the broker found the record corrupt",
        C::InvalidRecord => {
            "the topic does not accept such a record (a compacted topic needs keys)"
        }
        C::InvalidTimestamp => "the topic does not accept the record's timestamp",
        C::UnknownTopic | C::UnknownTopicOrPartition | C::UnknownTopicId => {
            "the topic does not exist: create it (delayq init) or correct delay-target"
        }
        C::UnknownPartition => "the topic has no such partition",
        C::InvalidTopic => "not a valid topic name",
        C::TopicAuthorizationFailed => "no permission to write to the topic: grant WRITE on it",
        C::PolicyViolation => "a policy of the broker refuses the record",
        _ => {
            return PortError::new(
                ErrorClass::Transient,
                "kafka produce",
                format!("{topic}: {code}"),
            );
        }
    };
    let error = PortError::new(
        ErrorClass::Invalid,
        "kafka produce",
        format!("{topic}: {code}: {remedy}"),
    );
    match code {
        C::MessageSizeTooLarge | C::InvalidMessageSize | C::MessageBatchTooLarge => {
            error.for_size()
        }
        _ => error,
    }
}

/// A failed commit of one partition.
pub(crate) fn commit(code: RDKafkaErrorCode, partition: &str) -> PortError {
    use RDKafkaErrorCode as C;
    let class = match code {
        C::IllegalGeneration
        | C::UnknownMemberId
        | C::FencedInstanceId
        | C::FencedMemberEpoch
        | C::StaleMemberEpoch
        | C::AssignmentLost => ErrorClass::Conflict,
        C::OffsetMetadataTooLarge | C::InvalidCommitOffsetSize => ErrorClass::Invalid,
        code if is_access_failure(code) => ErrorClass::Misconfigured,
        _ => ErrorClass::Transient,
    };
    PortError::new(class, "kafka commit", format!("{partition}: {code}"))
}

/// An error of the whole client, as told by librdkafka's error callback; `None` for what heals unnoticed.
pub(crate) fn client(
    operation: &'static str,
    code: RDKafkaErrorCode,
    reason: &str,
    bootstrap_servers: &str,
) -> Option<PortError> {
    use RDKafkaErrorCode as C;
    let (class, detail) = match code {
        C::AllBrokersDown => (
            ErrorClass::Transient,
            format!(
                "no broker answers at {bootstrap_servers} ({reason}); check kafka.bootstrap_servers and the network"
            ),
        ),
        C::Authentication
        | C::SaslAuthenticationFailed
        | C::UnsupportedSASLMechanism
        | C::IllegalSASLState => (
            ErrorClass::Misconfigured,
            format!(
                "authentication failed: {reason}; check kafka.auth and kafka.properties (security.protocol, sasl.*)"
            ),
        ),
        C::SSL => (
            ErrorClass::Misconfigured,
            format!("TLS failed: {reason}; check kafka.properties (security.protocol, ssl.*)"),
        ),
        C::ClusterAuthorizationFailed => (
            ErrorClass::Misconfigured,
            format!("the cluster refuses: {reason}; grant IDEMPOTENT_WRITE (brokers before 3.0)"),
        ),
        _ => return None,
    };
    Some(PortError::new(class, operation, detail))
}

/// An administrative call or metadata request that failed.
pub(crate) fn admin(operation: &'static str, error: &KafkaError) -> PortError {
    admin_code(operation, code_of(error), &error.to_string())
}

/// An administrative call that failed for one topic.
pub(crate) fn admin_code(
    operation: &'static str,
    code: RDKafkaErrorCode,
    detail: &str,
) -> PortError {
    use RDKafkaErrorCode as C;
    let class = match code {
        code if is_access_failure(code) => ErrorClass::Misconfigured,
        C::InvalidTopic
        | C::InvalidPartitions
        | C::InvalidReplicationFactor
        | C::InvalidReplicaAssignment
        | C::InvalidConfig
        | C::InvalidRequest
        | C::InvalidArgument
        | C::PolicyViolation => ErrorClass::Invalid,
        C::ThrottlingQuotaExceeded => ErrorClass::Throttled,
        _ => ErrorClass::Transient,
    };
    let detail = match right(operation, code) {
        Some(right) => format!(
            "{detail}; grant {right} to the user that delayq connects as (kafka.properties)"
        ),
        None => detail.to_owned(),
    };
    PortError::new(class, operation, detail)
}

/// The right that is missing where the broker says that one is.
/// <https://kafka.apache.org/documentation/#operations_resources_and_protocols>
fn right(operation: &str, code: RDKafkaErrorCode) -> Option<&'static str> {
    use RDKafkaErrorCode as C;
    if !matches!(
        code,
        C::TopicAuthorizationFailed | C::ClusterAuthorizationFailed | C::GroupAuthorizationFailed
    ) {
        return None;
    }
    Some(match operation {
        "kafka CreateTopics" => "CREATE on the topic (or on the cluster)",
        "kafka DescribeConfigs" => "DESCRIBE_CONFIGS on the topic",
        "kafka AlterConfigs" => "ALTER_CONFIGS on the topic",
        "kafka produce" => "WRITE on the topic",
        "kafka DeleteRecords" => "DELETE on the topic",
        "kafka OffsetFetch" => {
            "READ on the group of the dead letters (kafka.group_id and `-dead-letters`)"
        }
        "kafka Fetch" => "READ on the topic",
        _ => "DESCRIBE on the topic",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_records_own_faults_are_invalid() {
        use RDKafkaErrorCode as C;
        for code in [
            C::MessageSizeTooLarge,
            C::UnknownTopic,
            C::UnknownTopicOrPartition,
            C::InvalidRecord,
            C::InvalidTimestamp,
            C::TopicAuthorizationFailed,
            C::PolicyViolation,
        ] {
            assert_eq!(delivery(code, "t").class, ErrorClass::Invalid, "{code:?}");
        }
        for code in [
            C::MessageTimedOut,
            C::PurgeQueue,
            C::PurgeInflight,
            C::NotEnoughReplicas,
            C::AllBrokersDown,
            C::Fatal,
            C::ClusterAuthorizationFailed,
            C::Unknown,
        ] {
            assert_eq!(delivery(code, "t").class, ErrorClass::Transient, "{code:?}");
        }
    }

    #[test]
    fn a_commit_of_a_former_member_is_a_conflict() {
        use RDKafkaErrorCode as C;
        assert_eq!(
            commit(C::IllegalGeneration, "t/0").class,
            ErrorClass::Conflict
        );
        assert_eq!(
            commit(C::RebalanceInProgress, "t/0").class,
            ErrorClass::Transient
        );
        assert_eq!(
            commit(C::GroupAuthorizationFailed, "t/0").class,
            ErrorClass::Misconfigured
        );
        assert_eq!(
            commit(C::OffsetMetadataTooLarge, "t/0").class,
            ErrorClass::Invalid
        );
    }

    #[test]
    fn a_configuration_error_does_not_show_the_value() {
        let Err(error) = rdkafka::ClientConfig::new()
            .set("sasl.password.nonsense", "hunter2")
            .create_native_config()
        else {
            panic!("accepted");
        };
        let shown = configuration("kafka consumer", &error).to_string();
        assert!(
            shown.contains("sasl.password.nonsense") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
