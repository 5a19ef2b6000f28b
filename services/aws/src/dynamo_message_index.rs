//! The tracked records of a delay topic by due time, from the index of their table (see `message_rows`).
//!
//! The index is in parts, by class of state and a hash of the id; those that are asked for are read at once and merged. A page ends at
//! its last row, or at the place up to which all parts were read, when rows that pass the filter are few.

use std::ops::Range;

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use delayq_core::error::{ErrorClass, PortError};
use delayq_core::ports::{MessageFilter, MessageIndex, MessagePage};
use delayq_core::tracked::MessageRow;

use crate::attributes::{Item, read_text, text};
use crate::dynamo_messages::DynamoMessageRegistry;
use crate::message_rows::{
    CLASSES, GROUP, INDEX, ORDER, OUTPUT_TOPIC, PRIORITY, SPREAD, STATE, class, decode_any, group,
    order,
};
use crate::meter::Tier;

/// Queries of one part for one page of a list.
const QUERIES_MAX: usize = 10;
/// Rows that a query looks at, at most: a filter may let few of them through.
const LOOKED_AT_MAX: usize = 1_000;
/// An eventually consistent query of next to nothing, in units.
const QUERY_UNITS_MIN: f64 = 0.5;

/// A row and where it stands.
type Placed = (String, MessageRow);

/// A part of the index, as far as it was read.
#[derive(Default)]
struct Part {
    group: String,
    found: Vec<Placed>,
    /// The last place that was looked at; none at the end.
    last: Option<Item>,
    consumed: f64,
}

impl Part {
    /// The place up to which it was read; none when to the end.
    fn read_to(&self) -> Result<Option<&str>, String> {
        let last = self.last.as_ref();
        last.map(|item| read_text(item, ORDER)).transpose()
    }
}

/// What a list asks of each part.
struct Asked<'a> {
    filter: &'a MessageFilter,
    /// The first place that is looked at, and the first that is not any more.
    places: Range<String>,
    /// Rows up to here were handed out.
    after: &'a str,
    limit: usize,
}

impl Asked<'_> {
    fn groups(&self) -> impl Iterator<Item = String> {
        let wanted = self.filter.state.map(class);
        let classes = CLASSES.into_iter();
        let classes = classes.filter(move |one| wanted.is_none_or(|wanted| wanted == *one));
        classes.flat_map(move |one| (0..SPREAD).map(move |n| group(&self.filter.topic, one, n)))
    }

    /// Most rows of a page pass, unless one of these is asked for.
    fn looked_at(&self) -> usize {
        let filter = self.filter;
        let narrow = filter.output_topic.is_some()
            || filter.priority.is_some()
            || filter.state == Some("publishing");
        // The one that comes first may have been handed out.
        if narrow {
            LOOKED_AT_MAX
        } else {
            self.limit + 1
        }
    }

    fn filtered(&self, request: QueryFluentBuilder) -> QueryFluentBuilder {
        let filter = self.filter;
        let state = filter.state.map(|state| (STATE, ":state", state));
        let output = filter.output_topic.as_deref();
        let output = output.map(|topic| (OUTPUT_TOPIC, ":to", topic));
        let priority = filter.priority.map(|one| (PRIORITY, ":prio", one.as_str()));
        let mut conditions = Vec::new();
        let mut request = request;
        for (name, wanted, value) in [state, output, priority].into_iter().flatten() {
            conditions.push(format!("#{name} = {wanted}"));
            request = request
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(wanted, text(value));
        }
        let expression = (!conditions.is_empty()).then(|| conditions.join(" AND "));
        request.set_filter_expression(expression)
    }
}

impl DynamoMessageRegistry {
    /// Reads a part until it has a page, or has ended, or takes too long.
    async fn read_part(&self, asked: &Asked<'_>, part: &mut Part) -> Result<(), PortError> {
        let site = self.site("dynamodb Query");
        for _ in 0..QUERIES_MAX {
            let request = self
                .clients
                .dynamodb
                .query()
                .table_name(&self.table)
                .index_name(INDEX)
                .key_condition_expression("#g = :g AND #o BETWEEN :first AND :end")
                .expression_attribute_names("#g", GROUP)
                .expression_attribute_names("#o", ORDER)
                .expression_attribute_values(":g", text(&part.group))
                .expression_attribute_values(":first", text(&asked.places.start))
                .expression_attribute_values(":end", text(&asked.places.end))
                .set_exclusive_start_key(part.last.take())
                .limit(i32::try_from(asked.looked_at()).unwrap_or(i32::MAX))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let answer = site.finish(asked.filtered(request).send().await);
            let told = answer.as_ref().ok().and_then(|a| a.consumed_capacity());
            let consumed = told.and_then(|capacity| capacity.capacity_units());
            part.consumed += consumed.unwrap_or(0.0).max(QUERY_UNITS_MIN);
            let answer = answer?;
            let rows = answer.items().iter().filter_map(|item| {
                let place = read_text(item, ORDER).ok()?;
                Some((place.to_owned(), decode_any(item)?))
            });
            part.found
                .extend(rows.filter(|(place, _)| place.as_str() > asked.after));
            part.last = answer.last_evaluated_key;
            if part.last.is_none() || part.found.len() >= asked.limit {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl MessageIndex for DynamoMessageRegistry {
    async fn list(
        &self,
        filter: &MessageFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<MessagePage, PortError> {
        let from = order(filter.due_from_ms, "");
        let asked = Asked {
            filter,
            places: from.max(after.unwrap_or_default().to_owned())..order(filter.due_to_ms, ""),
            after: after.unwrap_or_default(),
            limit: limit.clamp(1, LOOKED_AT_MAX),
        };
        // DynamoDB refuses an empty range.
        if asked.places.is_empty() {
            return Ok(MessagePage::default());
        }
        let group = |group| Part {
            group,
            ..Part::default()
        };
        let mut parts: Vec<_> = asked.groups().map(group).collect();
        let reads = parts.iter_mut().map(|part| self.read_part(&asked, part));
        let outcomes = futures::future::join_all(reads).await;
        Tier::Tracked.consumed(parts.iter().map(|part| part.consumed).sum());
        outcomes.into_iter().collect::<Result<(), _>>()?;
        merge(parts, asked.limit).map_err(|what| {
            let site = self.site("dynamodb Query");
            site.error(ErrorClass::Transient, format_args!("end of page: {what}"))
        })
    }
}

/// The first `limit` rows in order, as far as all parts were read.
fn merge(mut parts: Vec<Part>, limit: usize) -> Result<MessagePage, String> {
    let mut found: Vec<Placed> = Vec::new();
    for part in &mut parts {
        found.append(&mut part.found);
    }
    // Of a row that is on its way from one part to another the later state is kept.
    found.sort_by(|(a, one), (b, other)| (a, other.revision).cmp(&(b, one.revision)));
    found.dedup_by(|later, kept| later.0 == kept.0);
    let mut read_to: Option<&str> = None;
    for part in &parts {
        if let Some(place) = part.read_to()? {
            read_to = Some(read_to.map_or(place, |least| least.min(place)));
        }
    }
    found.retain(|(place, _)| read_to.is_none_or(|read_to| place.as_str() <= read_to));
    let next = if found.len() > limit {
        found.truncate(limit);
        found.last().map(|(place, _)| place.clone())
    } else {
        read_to.map(str::to_owned)
    };
    let rows = found.into_iter().map(|(_, row)| row).collect();
    Ok(MessagePage { rows, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use delayq_core::tracked::{MessageKey, State, Version};

    fn placed(place: &str, revision: u64) -> Placed {
        let row = MessageRow {
            key: MessageKey {
                topic: "t".into(),
                id: place.into(),
            },
            version: Version {
                partition: 0,
                offset: 0,
                appended_ms: 0,
            },
            revision,
            details: None,
            state: State::Scheduled,
            overlaps: false,
            expires_s: 0,
        };
        (place.to_owned(), row)
    }

    fn part(places: &[&str], read_to: Option<&str>) -> Part {
        Part {
            found: places.iter().map(|place| placed(place, 1)).collect(),
            last: read_to.map(|place| Item::from([(ORDER.to_owned(), text(place))])),
            ..Part::default()
        }
    }

    fn merged(parts: Vec<Part>, limit: usize) -> (Vec<String>, Option<String>) {
        let page = merge(parts, limit).unwrap();
        let ids = page.rows.iter().map(|row| row.key.id.to_string());
        (ids.collect(), page.next)
    }

    /// What lies beyond the place to which the slowest part was read may have others before it.
    #[test]
    fn a_page_ends_where_a_part_was_not_read_any_further() {
        let parts = || vec![part(&["a", "d", "f"], None), part(&["c"], Some("e"))];
        let page = |ids: &[&str], next: Option<&str>| {
            let ids: Vec<_> = ids.iter().map(|id| (*id).to_owned()).collect();
            (ids, next.map(str::to_owned))
        };
        assert_eq!(merged(parts(), 9), page(&["a", "c", "d"], Some("e")));
        assert_eq!(merged(parts(), 3), page(&["a", "c", "d"], Some("e")));
        assert_eq!(merged(parts(), 2), page(&["a", "c"], Some("c")));
        let without_any = vec![part(&["x"], None), part(&[], Some("k"))];
        assert_eq!(merged(without_any, 9), page(&[], Some("k")));
        let to_the_end = vec![part(&["b"], None), part(&["a"], None)];
        assert_eq!(merged(to_the_end, 2), page(&["a", "b"], None));
    }

    #[test]
    fn of_a_row_that_is_found_twice_the_later_state_is_listed() {
        let mut one = part(&["a"], None);
        one.found.push(placed("b", 3));
        let other = part(&["b", "c"], None);
        let rows = merge(vec![one, other], 9).unwrap().rows;
        let revisions: Vec<_> = rows.iter().map(|row| row.revision).collect();
        assert_eq!(revisions, [1, 3, 1]);
    }
}
