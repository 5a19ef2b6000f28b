//! The index of a table: made with it, or added to a table that has none.

use aws_sdk_dynamodb::types::{
    CreateGlobalSecondaryIndexAction, GlobalSecondaryIndex, GlobalSecondaryIndexDescription,
    GlobalSecondaryIndexUpdate, IndexStatus, Projection, ProjectionType, TableDescription,
};
use delayq_core::error::{ErrorClass, PortError};

use crate::errors::CallSite;
use crate::provision::Provisioning;
use crate::provision_tables::{Keys, Needed, site, wait_until_active};

/// An index as it has to be: over whole rows.
pub(crate) struct NeededIndex {
    /// Name.
    pub(crate) name: &'static str,
    /// Keys.
    pub(crate) keys: Keys,
}

impl NeededIndex {
    /// For a table that is made.
    pub(crate) fn with_table(&self, site: CallSite<'_>) -> Result<GlobalSecondaryIndex, PortError> {
        GlobalSecondaryIndex::builder()
            .index_name(self.name)
            .set_key_schema(Some(self.keys.schema(site)?))
            .projection(whole_rows())
            .build()
            .map_err(|e| site.error(ErrorClass::Invalid, e))
    }

    /// For a table that is there.
    fn added(&self, site: CallSite<'_>) -> Result<GlobalSecondaryIndexUpdate, PortError> {
        let create = CreateGlobalSecondaryIndexAction::builder()
            .index_name(self.name)
            .set_key_schema(Some(self.keys.schema(site)?))
            .projection(whole_rows())
            .build()
            .map_err(|e| site.error(ErrorClass::Invalid, e))?;
        Ok(GlobalSecondaryIndexUpdate::builder().create(create).build())
    }
}

fn whole_rows() -> Projection {
    Projection::builder()
        .projection_type(ProjectionType::All)
        .build()
}

/// The index of that name, if the table has it.
fn find<'a>(
    table: &'a TableDescription,
    index: &NeededIndex,
) -> Option<&'a GlobalSecondaryIndexDescription> {
    let mut all = table.global_secondary_indexes().iter();
    all.find(|one| one.index_name() == Some(index.name))
}

/// Whether the table's index can be used, if it has one.
pub(crate) fn index_is_active(table: &TableDescription, needed: &Needed) -> Option<bool> {
    let index = find(table, needed.index.as_ref()?)?;
    Some(index.index_status() == Some(&IndexStatus::Active))
}

/// Whether the table's index is the one that delayq needs, `None` when there is none; `Err` says what is wrong and what to do.
pub(crate) fn check_index(
    table: &TableDescription,
    needed: &NeededIndex,
) -> Option<Result<(), String>> {
    let index = find(table, needed)?;
    let whole = index.projection().and_then(Projection::projection_type);
    let keys = &needed.keys;
    Some(
        if whole != Some(&ProjectionType::All) {
            Err("does not hold whole rows".to_owned())
        } else if keys.are_those(index.key_schema(), table.attribute_definitions()) {
            Ok(())
        } else {
            Err(format!("has other keys, delayq needs {}", keys.shown()))
        }
        .map_err(|what| {
            let name = needed.name;
            format!("its index {name} {what}; remove the index and run `delayq init`")
        }),
    )
}

/// Adds the index where it is missing, and waits for it; answers with its name if it was (in a dry run: would be) added.
pub(crate) async fn ensure_index(
    work: &mut Provisioning<'_>,
    table: &Needed,
    description: &TableDescription,
) -> Result<Option<&'static str>, PortError> {
    let Some(index) = &table.index else {
        return Ok(None);
    };
    let resource = format!("table {}", table.name);
    let site = site(work.clients, "dynamodb UpdateTable", &resource);
    match check_index(description, index) {
        Some(Ok(())) => return Ok(None),
        Some(Err(what)) => return Err(site.error(ErrorClass::Misconfigured, what)),
        None if work.options.dry_run => return Ok(Some(index.name)),
        None => {}
    }
    // A table takes one change at a time: the stream may just have been switched on.
    wait_until_active(work.clients, table, work.options.wait, false).await?;
    let mut definitions = table.keys.definitions(site)?;
    definitions.extend(index.keys.definitions(site)?);
    let request = work
        .clients
        .dynamodb
        .update_table()
        .table_name(&table.name)
        .set_attribute_definitions(Some(definitions))
        .global_secondary_index_updates(index.added(site)?);
    site.finish(request.send().await)?;
    wait_until_active(work.clients, table, work.options.wait, true).await?;
    Ok(Some(index.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, KeySchemaElement, KeyType, ScalarAttributeType,
    };

    fn table(index: Option<(&str, &str, ProjectionType)>) -> TableDescription {
        let definition = AttributeDefinition::builder()
            .attribute_name("g")
            .attribute_type(ScalarAttributeType::S);
        let mut table =
            TableDescription::builder().attribute_definitions(definition.build().unwrap());
        if let Some((name, key, projected)) = index {
            let element = KeySchemaElement::builder()
                .attribute_name(key)
                .key_type(KeyType::Hash);
            let index = GlobalSecondaryIndexDescription::builder()
                .index_name(name)
                .key_schema(element.build().unwrap())
                .projection(Projection::builder().projection_type(projected).build());
            table = table.global_secondary_indexes(index.build());
        }
        table.build()
    }

    #[test]
    fn an_index_that_is_missing_or_another_is_found_out() {
        let needed = NeededIndex {
            name: "by-due",
            keys: Keys {
                hash: ("g", ScalarAttributeType::S),
                range: None,
            },
        };
        let check = |index| check_index(&table(index), &needed);
        assert_eq!(check(None), None);
        assert_eq!(check(Some(("other", "g", ProjectionType::All))), None);
        assert_eq!(
            check(Some(("by-due", "g", ProjectionType::All))),
            Some(Ok(()))
        );
        let wrong = [
            ("k", ProjectionType::All, "other keys"),
            ("g", ProjectionType::KeysOnly, "whole rows"),
        ];
        for (key, projected, what) in wrong {
            let error = check(Some(("by-due", key, projected)))
                .unwrap()
                .unwrap_err();
            assert!(
                error.contains(what) && error.contains("; remove"),
                "{error}"
            );
        }
    }
}
