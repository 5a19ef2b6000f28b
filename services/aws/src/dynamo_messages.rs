//! The tracked records in DynamoDB: a row an id, replaced as a whole, on the condition that it is the one expected.
//!
//! What a row looks like is in `message_rows`, how rows are listed in `dynamo_message_index`.

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{MessageRegistry, Written};
use delayq_core::tracked::{MessageKey, MessageRow, RowStamp, State};

use crate::attributes::{Item, number, text};
use crate::connect::Clients;
use crate::errors::CallSite;
use crate::message_rows::{KEY, OFFSET, PARTITION, REVISION, decode, to_item};
use crate::meter::{Tier, item_bytes, items_bytes};
use crate::names::TableNames;

/// [`MessageRegistry`] and [`delayq_core::ports::MessageIndex`] over DynamoDB. Makes no call until it is used; retries none.
#[derive(Debug)]
pub struct DynamoMessageRegistry {
    pub(crate) clients: Clients,
    pub(crate) table: String,
    /// `table <name>`, for texts.
    label: String,
}

impl DynamoMessageRegistry {
    /// The messages table of these names.
    #[must_use]
    pub fn new(clients: &Clients, names: &TableNames) -> Self {
        Self {
            clients: clients.clone(),
            table: names.messages.clone(),
            label: format!("table {}", names.messages),
        }
    }

    pub(crate) fn site(&self, operation: &'static str) -> CallSite<'_> {
        CallSite {
            operation,
            resource: &self.label,
            endpoint: &self.clients.dynamodb_endpoint,
        }
    }
}

#[async_trait]
impl MessageRegistry for DynamoMessageRegistry {
    async fn write(
        &self,
        row: MessageRow,
        expected: Option<RowStamp>,
    ) -> Result<Written, PortError> {
        let site = self.site("dynamodb PutItem");
        let item = to_item(&row);
        let size_bytes = item_bytes(&item);
        let index_writes = index_writes(&row, expected);
        let request = self
            .clients
            .dynamodb
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = match expected {
            None => request
                .condition_expression("attribute_not_exists(#k)")
                .expression_attribute_names("#k", KEY),
            Some(stamp) => request
                .condition_expression("#part = :part AND #offset = :offset AND #rev = :rev")
                .expression_attribute_names("#part", PARTITION)
                .expression_attribute_names("#offset", OFFSET)
                .expression_attribute_names("#rev", REVISION)
                .expression_attribute_values(":part", number(stamp.version.partition))
                .expression_attribute_values(":offset", number(stamp.version.offset))
                .expression_attribute_values(":rev", number(stamp.revision)),
        };
        let answer = request.send().await;
        let found = in_its_place(&answer);
        // Billed by the larger of both, if the condition failed too. What a row that was replaced had is not told; versions of one
        // row hardly differ in size.
        let size_bytes = size_bytes.max(found.as_ref().map_or(0, item_bytes));
        let answer = Tier::Tracked.write(size_bytes, site.finish(answer));
        Tier::Tracked.index_writes(size_bytes, index_writes, &answer);
        match answer {
            Ok(_) => Ok(Written::Done),
            Err(error) if error.class == ErrorClass::Conflict => {
                let current = match found {
                    Some(item) => Some(decode(site, &row.key, &item)?),
                    // There was none, or it was not told.
                    None => self.read(&row.key).await?,
                };
                Ok(Written::Differs(current.map(Box::new)))
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&self, key: &MessageKey) -> Result<Option<MessageRow>, PortError> {
        let site = self.site("dynamodb GetItem");
        let request = self
            .clients
            .dynamodb
            .get_item()
            .table_name(&self.table)
            .consistent_read(true)
            .key(KEY, text(key.to_string()));
        let answer = site.finish(request.send().await);
        let answer = Tier::Tracked.read(answer, |answer| [items_bytes(&answer.item)])?;
        answer.item.map(|item| decode(site, key, &item)).transpose()
    }
}

/// The row for which a condition failed.
fn in_its_place(
    answer: &Result<PutItemOutput, SdkError<PutItemError, HttpResponse>>,
) -> Option<Item> {
    match answer.as_ref().err()?.as_service_error()? {
        PutItemError::ConditionalCheckFailedException(failed) => failed.item().cloned(),
        _ => None,
    }
}

/// Writes of the index that come with this one: a row is put into it, replaced in its place, or taken out and put in elsewhere. What
/// was there is not known; a claim is taken to leave the row in its place, any other change to move it. At most one is counted too
/// many.
fn index_writes(row: &MessageRow, expected: Option<RowStamp>) -> u64 {
    match (&row.details, expected, &row.state) {
        (None, ..) => 0,
        (Some(_), None, _) | (Some(_), Some(_), State::Publishing(_)) => 1,
        (Some(_), Some(_), _) => 2,
    }
}
