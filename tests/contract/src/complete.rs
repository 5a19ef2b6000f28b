//! A check that is written but not listed would never run.

macro_rules! names {
    ($port:ident: $($check:ident)*) => { [$(stringify!($check)),*] };
}

fn written(source: &str) -> Vec<&str> {
    source
        .lines()
        .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
        .collect()
}

#[test]
fn every_check_is_listed() {
    assert_eq!(
        crate::delay_queue_checks!(names).to_vec(),
        written(include_str!("delay_queue.rs"))
    );
    assert_eq!(
        crate::tick_queue_checks!(names).to_vec(),
        written(include_str!("tick_queue.rs"))
    );
    assert_eq!(
        crate::batch_store_checks!(names).to_vec(),
        written(include_str!("batch_store.rs"))
    );
    assert_eq!(
        crate::shard_state_checks!(names).to_vec(),
        written(include_str!("shard_state.rs"))
    );
    assert_eq!(
        crate::payload_store_checks!(names).to_vec(),
        written(include_str!("payload_store.rs"))
    );
    assert_eq!(
        crate::tally_store_checks!(names).to_vec(),
        written(include_str!("tally_store.rs"))
    );
    assert_eq!(
        crate::message_registry_checks!(names).to_vec(),
        written(include_str!("message_registry.rs"))
    );
    assert_eq!(
        crate::message_index_checks!(names).to_vec(),
        written(include_str!("message_index.rs"))
    );
    assert_eq!(
        crate::message_feed_checks!(names).to_vec(),
        written(include_str!("message_feed.rs"))
    );
    assert_eq!(
        crate::record_source_checks!(names).to_vec(),
        written(include_str!("record_source.rs"))
    );
    assert_eq!(
        crate::record_sink_checks!(names).to_vec(),
        written(include_str!("record_sink.rs"))
    );
}
