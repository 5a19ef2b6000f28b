//! What a group has committed, asked for until its coordinator answers: while a coordinator moves or loads its groups, it
//! refuses at once, and librdkafka passes the refusal on.

use std::time::Duration;

use rdkafka::consumer::{Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::time::Instant;

use crate::errors::code_of;

/// Wait before a coordinator that has refused is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Whether the coordinator is on the move, so that the same question will be answered soon. Nothing was done then.
pub(crate) const fn coordinator_moves(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as C;
    matches!(
        code,
        C::NotCoordinator | C::CoordinatorNotAvailable | C::CoordinatorLoadInProgress
    )
}

/// Asks again and again until `question` has an answer other than that the coordinator moves, or `limit` is over. Blocks.
#[allow(
    clippy::disallowed_methods,
    reason = "the poll thread and the commands' threads are there to block"
)]
pub(crate) fn until_answered<T>(
    limit: Duration,
    mut question: impl FnMut() -> Result<T, KafkaError>,
) -> Result<T, KafkaError> {
    let until = Instant::now() + limit;
    loop {
        match question() {
            Err(error) if coordinator_moves(code_of(&error)) && Instant::now() < until => {
                tracing::debug!(%error, "the group's coordinator moves; asking again");
                std::thread::sleep(AGAIN_AFTER);
            }
            answer => return answer,
        }
    }
}

/// Offset and metadata committed on each partition of `list`; a partition that has none has no offset. Blocks for `limit` at
/// most for each answer, and for `limit` in all while the coordinator moves.
///
/// # Errors
/// The first of the partitions' errors, or the whole request's.
pub(crate) fn read<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    list: &TopicPartitionList,
    limit: Duration,
) -> Result<TopicPartitionList, KafkaError> {
    until_answered(limit, || {
        let found = consumer.committed_offsets(list.clone(), limit)?;
        for element in found.elements() {
            element.error()?;
        }
        Ok(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_that_moves_is_asked_again_and_others_are_believed() {
        use RDKafkaErrorCode as C;
        let ask = |limit, answers: &[C]| {
            let mut left = answers.to_vec();
            let answer = until_answered(limit, || match left.pop() {
                Some(code) => Err(KafkaError::MetadataFetch(code)),
                None => Ok(()),
            });
            (answer.map_err(|error| code_of(&error)), left.len())
        };
        let long = Duration::from_secs(60);
        let moves = [C::NotCoordinator, C::CoordinatorLoadInProgress];
        assert_eq!(ask(long, &moves), (Ok(()), 0));
        assert_eq!(
            ask(Duration::ZERO, &moves),
            (Err(C::CoordinatorLoadInProgress), 1),
            "out of time"
        );
        assert_eq!(
            ask(long, &[C::NotCoordinator, C::GroupAuthorizationFailed]),
            (Err(C::GroupAuthorizationFailed), 1)
        );
    }
}
