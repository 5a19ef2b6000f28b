//! What comes due when: all records that wait, by time, output topic and priority, as the roles counted them when they took them in.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use delayq_core::clock::EpochMs;
use delayq_core::error::PortError;
use delayq_core::ports::TallyStore;
use delayq_core::upcoming::{by_bucket, read};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Shared;
use crate::error::{ApiError, ErrorBody};
use crate::input::Query;

/// Lengths of buckets, in ms: one of them is chosen where none is asked for.
const BUCKETS_MS: [i64; 7] = [
    60_000,
    300_000,
    900_000,
    3_600_000,
    21_600_000,
    86_400_000,
    604_800_000,
];
/// How far ahead is counted where nothing else is asked for.
const AHEAD_MS: i64 = 3_600_000;
/// Farther ahead than any record may be due (`delays.max` is at most 10 years).
const AHEAD_MAX_MS: i64 = 11 * 366 * 86_400_000;
/// Buckets of an answer at most.
const BUCKETS_MAX: i64 = 2_000;
/// Buckets of an answer where no length is asked for.
const BUCKETS_WANTED: i64 = 120;

/// How far ahead, and how fine.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UpcomingQuery {
    /// So many milliseconds from now: 60,000 (a minute) to 11 years; an hour where it is left out.
    #[param(minimum = 60_000, maximum = 347_846_400_000_i64)]
    ahead_ms: Option<i64>,
    /// Length of a bucket in milliseconds, at least 60,000 and at most 2,000 buckets; as fits where it is left out.
    #[param(minimum = 60_000)]
    bucket_ms: Option<i64>,
}

/// How far ahead, and how fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    ahead_ms: i64,
    bucket_ms: i64,
}

impl Span {
    /// `None` where it is left to this service.
    ///
    /// # Errors
    /// What is wrong with them, in a sentence.
    pub fn new(ahead_ms: Option<i64>, bucket_ms: Option<i64>) -> Result<Self, String> {
        let ahead_ms = ahead_ms.unwrap_or(AHEAD_MS);
        if !(60_000..=AHEAD_MAX_MS).contains(&ahead_ms) {
            return Err("what is ahead is counted for a minute to 11 years".to_owned());
        }
        let fits = |bucket_ms: &i64| ahead_ms / bucket_ms <= BUCKETS_WANTED;
        let bucket_ms = bucket_ms.unwrap_or_else(|| {
            let found = BUCKETS_MS.into_iter().find(fits);
            found.unwrap_or(604_800_000)
        });
        if bucket_ms < 60_000 {
            return Err("a bucket is at least a minute long".to_owned());
        }
        if ahead_ms / bucket_ms > BUCKETS_MAX {
            return Err(format!(
                "that would be {} buckets: at most {BUCKETS_MAX}, so make them longer",
                ahead_ms / bucket_ms
            ));
        }
        Ok(Self {
            ahead_ms,
            bucket_ms,
        })
    }

    /// How far ahead.
    #[must_use]
    pub fn ahead(self) -> Duration {
        Duration::from_millis(self.ahead_ms.unsigned_abs())
    }
}

/// Records of one output topic and priority.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpcomingCount {
    /// Output topic.
    pub output_topic: String,
    /// Priority.
    pub priority: &'static str,
    /// How many are due.
    pub count: u64,
}

/// What is due within a bucket.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpcomingBucket {
    /// Its start, milliseconds since 1970.
    pub from_ms: i64,
    /// By output topic and priority.
    pub counts: Vec<UpcomingCount>,
}

/// What comes due.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Upcoming {
    /// From when it is counted, milliseconds since 1970: now.
    pub from_ms: i64,
    /// Until when.
    pub until_ms: i64,
    /// Length of a bucket in ms.
    pub bucket_ms: i64,
    /// Those in which something is due, in order.
    pub buckets: Vec<UpcomingBucket>,
    /// Whether due times are known as finely as the buckets are. Else some counts are spread evenly over their time: 5 minutes for
    /// delays above 6 hours, an hour above 2 days, a day above 31 days.
    pub exact: bool,
    /// Parts of the counts that could not be read: what they hold is missing.
    pub unreadable: u64,
}

/// Adds up what all processes counted.
///
/// # Errors
/// The store's.
pub async fn count(
    store: &dyn TallyStore,
    span: Span,
    now_ms: EpochMs,
) -> Result<Upcoming, PortError> {
    let (mut cells, mut unreadable) = (Vec::new(), 0);
    for body in store.list(now_ms).await? {
        match read(&body) {
            Ok(some) => cells.extend(some),
            Err(error) => {
                unreadable += 1;
                tracing::warn!(%error, "counts of what comes due cannot be read");
            }
        }
    }
    let until_ms = now_ms.saturating_add(span.ahead_ms);
    let upcoming = by_bucket(cells, now_ms, until_ms, span.bucket_ms);
    let buckets = upcoming.buckets.into_iter();
    let buckets = buckets.map(|(from_ms, kinds)| UpcomingBucket {
        from_ms,
        counts: kinds
            .into_iter()
            .map(|((output_topic, priority), count)| UpcomingCount {
                output_topic: output_topic.to_string(),
                priority: priority.as_str(),
                count,
            })
            .collect(),
    });
    Ok(Upcoming {
        from_ms: now_ms,
        until_ms,
        bucket_ms: span.bucket_ms,
        buckets: buckets.collect(),
        exact: upcoming.exact,
        unreadable,
    })
}

/// All records that wait, tracked or not, by due time, output topic and priority. Counted as they are taken in: up to a minute old.
/// Records read again after a crash count twice; those that are cancelled by the command line go on counting until their time.
#[utoipa::path(get, path = "/v1/upcoming", params(UpcomingQuery), responses(
    (status = 200, body = Upcoming),
    (status = 400, description = "too far, or too fine", body = ErrorBody),
    (status = 401, description = "no token, or a wrong one", body = ErrorBody),
    (status = 403, description = "from a foreign page", body = ErrorBody),
    (status = 503, description = "DynamoDB does not answer", body = ErrorBody),
))]
pub(crate) async fn upcoming(
    State(shared): State<Shared>,
    Query(query): Query<UpcomingQuery>,
) -> Result<Json<Upcoming>, ApiError> {
    let span = Span::new(query.ahead_ms, query.bucket_ms).map_err(ApiError::bad_request)?;
    let now_ms = shared.ports.clock.now_ms();
    let store = shared.ports.tallies.as_ref();
    Ok(Json(count(store, span, now_ms).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_fit_what_is_ahead() {
        let bucket_ms = |ahead_ms| Span::new(Some(ahead_ms), None).map(|span| span.bucket_ms);
        assert_eq!(bucket_ms(3_600_000), Ok(60_000));
        assert_eq!(bucket_ms(86_400_000), Ok(900_000));
        assert_eq!(bucket_ms(7 * 86_400_000), Ok(21_600_000));
        assert_eq!(bucket_ms(AHEAD_MAX_MS), Ok(604_800_000));
        assert!(bucket_ms(AHEAD_MAX_MS + 1).is_err());
        assert!(bucket_ms(59_999).is_err());
        assert!(Span::new(None, Some(59_999)).is_err());
        assert!(Span::new(Some(7 * 86_400_000), Some(60_000)).is_err());
        assert!(Span::new(Some(86_400_000), Some(60_000)).is_ok());
    }
}
