//! DynamoDB attributes, written and read.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodbstreams::types::AttributeValue as StreamValue;

/// A row as DynamoDB gives it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A text attribute.
pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub(crate) fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A boolean attribute.
pub(crate) fn flag(value: bool) -> AttributeValue {
    AttributeValue::Bool(value)
}

/// A row as the stream of its table gives it. Of kinds of values that are never written here nothing is left.
pub(crate) fn from_stream(image: HashMap<String, StreamValue>) -> Item {
    let value = |value| match value {
        StreamValue::S(value) => AttributeValue::S(value),
        StreamValue::N(value) => AttributeValue::N(value),
        StreamValue::Bool(value) => AttributeValue::Bool(value),
        _ => AttributeValue::Null(true),
    };
    image
        .into_iter()
        .map(|(name, one)| (name, value(one)))
        .collect()
}

/// Reads a text attribute; `Err` says what is wrong.
pub(crate) fn read_text<'a>(item: &'a Item, name: &str) -> Result<&'a str, String> {
    match item.get(name) {
        Some(AttributeValue::S(value)) => Ok(value),
        Some(_) => Err(format!("attribute `{name}` is no text")),
        None => Err(format!("attribute `{name}` is missing")),
    }
}

/// Reads a number attribute; `Err` says what is wrong.
pub(crate) fn read_number<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, String> {
    match item.get(name) {
        Some(AttributeValue::N(value)) => value
            .parse()
            .map_err(|_| format!("attribute `{name}` is out of range: {value}")),
        Some(_) => Err(format!("attribute `{name}` is no number")),
        None => Err(format!("attribute `{name}` is missing")),
    }
}

/// Reads a boolean attribute; `Err` says what is wrong.
pub(crate) fn read_flag(item: &Item, name: &str) -> Result<bool, String> {
    match item.get(name) {
        Some(AttributeValue::Bool(value)) => Ok(*value),
        Some(_) => Err(format!("attribute `{name}` is no boolean")),
        None => Err(format!("attribute `{name}` is missing")),
    }
}
