//! Creates the tables, waits until they can be used, and switches TTL on.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus,
};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use delayq_core::error::{ErrorClass, PortError};

use crate::connect::Clients;
use crate::errors::{CallSite, short_code};
use crate::names::TableNames;
use crate::{dynamo_batches, dynamo_payloads, dynamo_shards};

/// Between two looks at a table that is being made.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// A key: its attribute and that attribute's type.
type Key = (&'static str, ScalarAttributeType);

/// A table's keys.
struct Keys {
    hash: Key,
    range: Option<Key>,
}

impl Keys {
    fn all(&self) -> impl Iterator<Item = (&Key, KeyType)> {
        let range = self.range.as_ref().map(|key| (key, KeyType::Range));
        std::iter::once((&self.hash, KeyType::Hash)).chain(range)
    }
}

pub(crate) async fn provision_tables(
    clients: &Clients,
    names: &TableNames,
    wait: Duration,
    done: &mut Vec<String>,
) -> Result<(), PortError> {
    let batches = Keys {
        hash: (dynamo_batches::KEY, ScalarAttributeType::S),
        range: Some((dynamo_batches::SORT, ScalarAttributeType::S)),
    };
    let shards = Keys {
        hash: (dynamo_shards::PARTITION, ScalarAttributeType::S),
        range: Some((dynamo_shards::SHARD, ScalarAttributeType::N)),
    };
    let payloads = Keys {
        hash: (dynamo_payloads::CHUNK, ScalarAttributeType::S),
        range: None,
    };
    let tables = [
        (&names.batches, &batches),
        (&names.shards, &shards),
        (&names.payloads, &payloads),
    ];
    // All are asked for before any is waited for.
    for (table, keys) in tables {
        ensure(clients, table, keys, done).await?;
    }
    for (table, keys) in tables {
        wait_until_active(clients, table, keys, wait).await?;
    }
    ensure_ttl(clients, &names.batches, dynamo_batches::EXPIRES, done).await?;
    ensure_ttl(clients, &names.payloads, dynamo_payloads::EXPIRES, done).await
}

async fn ensure(
    clients: &Clients,
    table: &str,
    keys: &Keys,
    done: &mut Vec<String>,
) -> Result<(), PortError> {
    let resource = format!("table {table}");
    if describe(clients, table, &resource).await?.is_some() {
        done.push(format!("{resource}: exists"));
        return Ok(());
    }
    let site = site(clients, "dynamodb CreateTable", &resource);
    let mut request = clients
        .dynamodb
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest);
    for ((name, kind), role) in keys.all() {
        let definition = AttributeDefinition::builder()
            .attribute_name(*name)
            .attribute_type(kind.clone())
            .build()
            .map_err(|e| site.error(ErrorClass::Invalid, e))?;
        let element = KeySchemaElement::builder()
            .attribute_name(*name)
            .key_type(role)
            .build()
            .map_err(|e| site.error(ErrorClass::Invalid, e))?;
        request = request
            .attribute_definitions(definition)
            .key_schema(element);
    }
    let answer = request.send().await;
    // Somebody else was faster: what they made is looked at below.
    let there = answer
        .as_ref()
        .is_err_and(|e| e.code().map(short_code) == Some("ResourceInUseException"));
    match site.finish(answer) {
        Err(_) if there => done.push(format!("{resource}: exists")),
        answer => {
            answer?;
            done.push(format!("{resource}: created"));
        }
    }
    Ok(())
}

async fn describe(
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

async fn wait_until_active(
    clients: &Clients,
    table: &str,
    keys: &Keys,
    wait: Duration,
) -> Result<(), PortError> {
    let resource = format!("table {table}");
    let site = site(clients, "dynamodb DescribeTable", &resource);
    let active = async {
        loop {
            // A table just created may not be known everywhere yet: missing means not active.
            if let Some(description) = describe(clients, table, &resource).await? {
                check_keys(&description, keys)
                    .map_err(|what| site.error(ErrorClass::Misconfigured, what))?;
                if description.table_status == Some(TableStatus::Active) {
                    return Ok(());
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

fn check_keys(table: &TableDescription, keys: &Keys) -> Result<(), String> {
    let has = |(name, kind): &Key, role: &KeyType| {
        let in_schema = table
            .key_schema()
            .iter()
            .any(|e| e.key_type() == role && e.attribute_name() == *name);
        in_schema
            && table
                .attribute_definitions()
                .iter()
                .any(|d| d.attribute_name() == *name && d.attribute_type() == kind)
    };
    let as_many = table.key_schema().len() == keys.all().count();
    if as_many && keys.all().all(|(key, role)| has(key, &role)) {
        return Ok(());
    }
    let shown = |(name, kind): &Key| format!("{name} ({})", kind.as_str());
    let range = keys.range.as_ref().map_or_else(
        || "no range key".to_owned(),
        |range| format!("range key {}", shown(range)),
    );
    Err(format!(
        "it exists with other keys: delayq needs hash key {} and {range}; choose another prefix or remove it",
        shown(&keys.hash)
    ))
}

async fn ensure_ttl(
    clients: &Clients,
    table: &str,
    attribute: &str,
    done: &mut Vec<String>,
) -> Result<(), PortError> {
    let resource = format!("table {table}");
    let request = clients.dynamodb.describe_time_to_live().table_name(table);
    let answer =
        site(clients, "dynamodb DescribeTimeToLive", &resource).finish(request.send().await)?;
    let present = answer.time_to_live_description.and_then(|ttl| {
        let on = matches!(
            ttl.time_to_live_status,
            Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
        );
        ttl.attribute_name.filter(|_| on)
    });
    let site = site(clients, "dynamodb UpdateTimeToLive", &resource);
    match present {
        Some(present) if present == attribute => {
            done.push(format!("{resource}: TTL is on"));
            return Ok(());
        }
        Some(other) => {
            return Err(site.error(
                ErrorClass::Misconfigured,
                format_args!("TTL is on attribute `{other}`, delayq needs it on `{attribute}`: switch it off first"),
            ));
        }
        None => {}
    }
    let ttl = TimeToLiveSpecification::builder()
        .enabled(true)
        .attribute_name(attribute)
        .build()
        .map_err(|e| site.error(ErrorClass::Invalid, e))?;
    let request = clients
        .dynamodb
        .update_time_to_live()
        .table_name(table)
        .time_to_live_specification(ttl);
    site.finish(request.send().await)?;
    done.push(format!("{resource}: TTL switched on"));
    Ok(())
}

fn site<'a>(clients: &'a Clients, operation: &'static str, resource: &'a str) -> CallSite<'a> {
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
        let keys = |kind| Keys {
            hash: ("p", ScalarAttributeType::S),
            range: Some(("n", kind)),
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
        assert_eq!(check_keys(&table, &keys(ScalarAttributeType::N)), Ok(()));
        let error = check_keys(&table, &keys(ScalarAttributeType::S)).unwrap_err();
        assert!(error.contains("range key n (S)"), "{error}");
        let hash_only = Keys {
            hash: ("p", ScalarAttributeType::S),
            range: None,
        };
        let error = check_keys(&table, &hash_only).unwrap_err();
        assert!(error.contains("no range key"), "{error}");
    }
}
