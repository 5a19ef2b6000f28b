//! Creates the tables, waits until they can be used, and switches TTL and streams on.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType, TableDescription, TableStatus, TimeToLiveSpecification,
    TimeToLiveStatus,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use delayq_core::error::{ErrorClass, PortError};

use crate::connect::Clients;
use crate::errors::{CallSite, short_code};
use crate::names::TableNames;
use crate::provision::Provisioning;
use crate::provision_index::{NeededIndex, ensure_index, index_is_active};
use crate::{dynamo_batches, dynamo_payloads, dynamo_shards, message_rows};

/// Between two looks at a table that is being made.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// An index takes minutes: a few questions in a row may fail meanwhile.
const UNANSWERED_MAX: u32 = 5;

/// A key: its attribute and that attribute's type.
type Key = (&'static str, ScalarAttributeType);

/// The keys of a table or an index.
pub(crate) struct Keys {
    pub(crate) hash: Key,
    pub(crate) range: Option<Key>,
}

impl Keys {
    fn all(&self) -> impl Iterator<Item = (&Key, KeyType)> {
        let range = self.range.as_ref().map(|key| (key, KeyType::Range));
        std::iter::once((&self.hash, KeyType::Hash)).chain(range)
    }

    /// What DynamoDB has to be told of them.
    pub(crate) fn definitions(
        &self,
        site: CallSite<'_>,
    ) -> Result<Vec<AttributeDefinition>, PortError> {
        let definition = |((name, kind), _): (&Key, _)| {
            AttributeDefinition::builder()
                .attribute_name(*name)
                .attribute_type(kind.clone())
                .build()
                .map_err(|e| site.error(ErrorClass::Invalid, e))
        };
        self.all().map(definition).collect()
    }

    /// Which of them is which.
    pub(crate) fn schema(&self, site: CallSite<'_>) -> Result<Vec<KeySchemaElement>, PortError> {
        let element = |((name, _), role): (&Key, _)| {
            KeySchemaElement::builder()
                .attribute_name(*name)
                .key_type(role)
                .build()
                .map_err(|e| site.error(ErrorClass::Invalid, e))
        };
        self.all().map(element).collect()
    }

    /// Whether a table or an index has these keys, and no others.
    pub(crate) fn are_those(
        &self,
        schema: &[KeySchemaElement],
        definitions: &[AttributeDefinition],
    ) -> bool {
        let has = |(name, kind): &Key, role: &KeyType| {
            let in_schema = schema
                .iter()
                .any(|e| e.key_type() == role && e.attribute_name() == *name);
            in_schema
                && definitions
                    .iter()
                    .any(|d| d.attribute_name() == *name && d.attribute_type() == kind)
        };
        schema.len() == self.all().count() && self.all().all(|(key, role)| has(key, &role))
    }

    /// For texts.
    pub(crate) fn shown(&self) -> String {
        let shown = |(name, kind): &Key| format!("{name} ({})", kind.as_str());
        let range = self.range.as_ref().map_or_else(
            || "no range key".to_owned(),
            |range| format!("range key {}", shown(range)),
        );
        format!("hash key {} and {range}", shown(&self.hash))
    }
}

/// A table as it has to be.
pub(crate) struct Needed {
    /// Name.
    pub(crate) name: String,
    pub(crate) keys: Keys,
    /// TTL attribute, where rows are to expire.
    pub(crate) expires: Option<&'static str>,
    /// What its stream shows of each change, where it has one.
    pub(crate) stream: Option<StreamViewType>,
    /// Its index, where it has one.
    pub(crate) index: Option<NeededIndex>,
}

/// The tables of an installation.
pub(crate) fn needed(names: &TableNames) -> [Needed; 4] {
    let batches = Needed {
        name: names.batches.clone(),
        keys: Keys {
            hash: (dynamo_batches::KEY, ScalarAttributeType::S),
            range: Some((dynamo_batches::SORT, ScalarAttributeType::S)),
        },
        expires: Some(dynamo_batches::EXPIRES),
        stream: None,
        index: None,
    };
    let shards = Needed {
        name: names.shards.clone(),
        keys: Keys {
            hash: (dynamo_shards::PARTITION, ScalarAttributeType::S),
            range: Some((dynamo_shards::SHARD, ScalarAttributeType::N)),
        },
        expires: Some(dynamo_shards::EXPIRES),
        stream: None,
        index: None,
    };
    let payloads = Needed {
        name: names.payloads.clone(),
        keys: Keys {
            hash: (dynamo_payloads::CHUNK, ScalarAttributeType::S),
            range: None,
        },
        expires: Some(dynamo_payloads::EXPIRES),
        stream: None,
        index: None,
    };
    let messages = Needed {
        name: names.messages.clone(),
        keys: Keys {
            hash: (message_rows::KEY, ScalarAttributeType::S),
            range: None,
        },
        expires: Some(message_rows::EXPIRES),
        stream: Some(StreamViewType::NewAndOldImages),
        index: Some(NeededIndex {
            name: message_rows::INDEX,
            keys: Keys {
                hash: (message_rows::GROUP, ScalarAttributeType::S),
                range: Some((message_rows::ORDER, ScalarAttributeType::S)),
            },
        }),
    };
    [batches, shards, payloads, messages]
}

pub(crate) async fn provision_tables(
    work: &mut Provisioning<'_>,
    names: &TableNames,
) -> Result<(), PortError> {
    let tables = needed(names);
    let mut there = Vec::new();
    // All are asked for before any is waited for.
    for table in &tables {
        let existed = ensure(work, table).await?;
        there.push(existed);
    }
    for (table, existed) in tables.iter().zip(there) {
        if !existed && work.options.dry_run {
            continue;
        }
        let description = wait_until_active(work.clients, table, work.options.wait, false).await?;
        // TTL last: in some two of five tries DynamoDB Local never finishes an index of a table whose TTL is on.
        let streamed = ensure_stream(work, table, &description).await?;
        let added = ensure_index(work, table, &description).await?;
        let mut off = Vec::new();
        if ensure_ttl(work, table).await? {
            off.push("TTL");
        }
        if streamed {
            off.push("stream");
        }
        if existed {
            let outcome = outcome(&off.join(" and "), added, work.options.dry_run);
            work.say(&format!("table {}", table.name), outcome);
        }
    }
    Ok(())
}

/// What became of a table that was there, or would.
fn outcome(off: &str, added: Option<&str>, dry_run: bool) -> String {
    let mut parts = Vec::new();
    if !off.is_empty() {
        parts.push(match dry_run {
            true => format!("would switch {off} on"),
            false => format!("{off} switched on"),
        });
    }
    if let Some(index) = added {
        parts.push(match dry_run {
            true => format!("would add index {index}"),
            false => format!("index {index} added"),
        });
    }
    match (parts.is_empty(), dry_run) {
        (true, _) => "exists".to_owned(),
        (false, true) => format!("differs, {}", parts.join(", ")),
        (false, false) => format!("differed, {}", parts.join(", ")),
    }
}

/// Asks for the table unless it is there; answers whether it was.
async fn ensure(work: &mut Provisioning<'_>, table: &Needed) -> Result<bool, PortError> {
    let clients = work.clients;
    let resource = format!("table {}", table.name);
    if describe(clients, &table.name, &resource).await?.is_some() {
        return Ok(true);
    }
    if work.options.dry_run {
        work.say(&resource, "would create");
        return Ok(false);
    }
    let site = site(clients, "dynamodb CreateTable", &resource);
    let mut request = clients
        .dynamodb
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_stream_specification(stream_specification(site, table)?)
        .set_key_schema(Some(table.keys.schema(site)?));
    let mut definitions = table.keys.definitions(site)?;
    if let Some(index) = &table.index {
        definitions.extend(index.keys.definitions(site)?);
        request = request.global_secondary_indexes(index.with_table(site)?);
    }
    let request = request.set_attribute_definitions(Some(definitions));
    let answer = request.send().await;
    // Somebody else was faster: what they made is looked at later.
    let there = answer
        .as_ref()
        .is_err_and(|e| e.code().map(short_code) == Some("ResourceInUseException"));
    match site.finish(answer) {
        Err(_) if there => Ok(true),
        answer => {
            answer?;
            work.say(&resource, "created");
            Ok(false)
        }
    }
}

/// The table as it is, if there is one.
pub(crate) async fn describe(
    clients: &Clients,
    table: &str,
    resource: &str,
) -> Result<Option<TableDescription>, PortError> {
    let answer = clients
        .dynamodb
        .describe_table()
        .table_name(table)
        .send()
        .await;
    let missing = answer
        .as_ref()
        .is_err_and(|e| e.code().map(short_code) == Some("ResourceNotFoundException"));
    match site(clients, "dynamodb DescribeTable", resource).finish(answer) {
        Err(_) if missing => Ok(None),
        answer => Ok(answer?.table),
    }
}

/// Waits for the table and its index; one that is not there is waited for if it was asked for.
pub(crate) async fn wait_until_active(
    clients: &Clients,
    table: &Needed,
    wait: Duration,
    with_index: bool,
) -> Result<TableDescription, PortError> {
    let resource = format!("table {}", table.name);
    let site = site(clients, "dynamodb DescribeTable", &resource);
    let active = async {
        let mut unanswered = 0;
        loop {
            let found = match describe(clients, &table.name, &resource).await {
                Err(error)
                    if error.class == ErrorClass::Transient && unanswered < UNANSWERED_MAX =>
                {
                    unanswered += 1;
                    tracing::debug!(%error, table = table.name, "asked again");
                    None
                }
                answer => {
                    unanswered = 0;
                    answer?
                }
            };
            // A table just created may not be known everywhere yet: missing means not active.
            if let Some(description) = found {
                check_keys(&description, table)
                    .map_err(|what| site.error(ErrorClass::Misconfigured, what))?;
                let active = description.table_status == Some(TableStatus::Active);
                if active && index_is_active(&description, table).unwrap_or(!with_index) {
                    return Ok(description);
                }
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    };
    tokio::time::timeout(wait, active)
        .await
        .unwrap_or_else(|_| {
            Err(site.error(
                ErrorClass::Transient,
                format_args!("not active after {} s", wait.as_secs()),
            ))
        })
}

/// Whether the table's keys are those that delayq needs; `Err` says what is wrong and what to do.
pub(crate) fn check_keys(table: &TableDescription, needed: &Needed) -> Result<(), String> {
    let keys = &needed.keys;
    if keys.are_those(table.key_schema(), table.attribute_definitions()) {
        return Ok(());
    }
    Err(format!(
        "it exists with other keys, delayq needs {}; choose another aws.prefix or remove the table",
        keys.shown()
    ))
}

/// The attribute on which TTL is on, if it is.
pub(crate) async fn ttl(clients: &Clients, table: &str) -> Result<Option<String>, PortError> {
    let resource = format!("table {table}");
    let request = clients.dynamodb.describe_time_to_live().table_name(table);
    let answer =
        site(clients, "dynamodb DescribeTimeToLive", &resource).finish(request.send().await)?;
    Ok(answer.time_to_live_description.and_then(|ttl| {
        let on = matches!(
            ttl.time_to_live_status,
            Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
        );
        ttl.attribute_name.filter(|_| on)
    }))
}

/// Switches TTL on where it is needed and off; answers whether it was (in a dry run: would be).
async fn ensure_ttl(work: &mut Provisioning<'_>, table: &Needed) -> Result<bool, PortError> {
    let Some(attribute) = table.expires else {
        return Ok(false);
    };
    let resource = format!("table {}", table.name);
    let site = site(work.clients, "dynamodb UpdateTimeToLive", &resource);
    match ttl(work.clients, &table.name).await? {
        Some(present) if present == attribute => return Ok(false),
        Some(other) => {
            return Err(site.error(
                ErrorClass::Misconfigured,
                format_args!("TTL is on attribute `{other}`, delayq needs it on `{attribute}`; switch it off first"),
            ));
        }
        None if work.options.dry_run => return Ok(true),
        None => {}
    }
    let ttl = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name(attribute)
        .build()
        .map_err(|e| site.error(ErrorClass::Invalid, e))?;
    let request = work
        .clients
        .dynamodb
        .update_time_to_live()
        .table_name(&table.name)
        .time_to_live_specification(ttl);
    site.finish(request.send().await)?;
    Ok(true)
}

fn stream_specification(
    site: CallSite<'_>,
    table: &Needed,
) -> Result<Option<StreamSpecification>, PortError> {
    let Some(view) = &table.stream else {
        return Ok(None);
    };
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(view.clone());
    let stream = stream.build();
    stream
        .map(Some)
        .map_err(|e| site.error(ErrorClass::Invalid, e))
}

/// What the table's stream shows, if it has one.
pub(crate) fn stream(table: &TableDescription) -> Option<&StreamViewType> {
    let stream = table.stream_specification()?;
    stream
        .stream_view_type()
        .filter(|_| stream.stream_enabled())
}

/// As [`ensure_ttl`], for the stream.
async fn ensure_stream(
    work: &mut Provisioning<'_>,
    table: &Needed,
    description: &TableDescription,
) -> Result<bool, PortError> {
    let Some(view) = &table.stream else {
        return Ok(false);
    };
    let resource = format!("table {}", table.name);
    let site = site(work.clients, "dynamodb UpdateTable", &resource);
    match stream(description) {
        Some(present) if present == view => return Ok(false),
        // Only a stream that is off can be given another view.
        Some(other) => {
            return Err(site.error(
                ErrorClass::Misconfigured,
                format_args!(
                    "its stream shows {}, delayq needs {}; switch it off first",
                    other.as_str(),
                    view.as_str()
                ),
            ));
        }
        None if work.options.dry_run => return Ok(true),
        None => {}
    }
    let request = work
        .clients
        .dynamodb
        .update_table()
        .table_name(&table.name)
        .set_stream_specification(stream_specification(site, table)?);
    site.finish(request.send().await)?;
    Ok(true)
}

pub(crate) fn site<'a>(
    clients: &'a Clients,
    operation: &'static str,
    resource: &'a str,
) -> CallSite<'a> {
    CallSite {
        operation,
        resource,
        endpoint: &clients.dynamodb_endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_other_keys_is_refused() {
        let needed = |range| Needed {
            name: "t".to_owned(),
            keys: Keys {
                hash: ("p", ScalarAttributeType::S),
                range,
            },
            expires: None,
            stream: None,
            index: None,
        };
        let mut table = TableDescription::builder();
        for (name, kind, role) in [
            ("p", ScalarAttributeType::S, KeyType::Hash),
            ("n", ScalarAttributeType::N, KeyType::Range),
        ] {
            let definition = AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(kind);
            let element = KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(role);
            table = table
                .attribute_definitions(definition.build().unwrap())
                .key_schema(element.build().unwrap());
        }
        let table = table.build();
        let number = needed(Some(("n", ScalarAttributeType::N)));
        assert_eq!(check_keys(&table, &number), Ok(()));
        let text = needed(Some(("n", ScalarAttributeType::S)));
        let error = check_keys(&table, &text).unwrap_err();
        assert!(error.contains("range key n (S)"), "{error}");
        let error = check_keys(&table, &needed(None)).unwrap_err();
        assert!(error.contains("no range key"), "{error}");
    }
}
