//! Rules of `[topics]`.

use super::*;

#[test]
fn delay_topics_are_named_once_each_and_legal() {
    one_fault(&["topics.delay"], "no delay topic", |config| {
        config.topics.delay.clear();
    });
    one_fault(&["topics.delay"], "listed twice", |config| {
        config.topics.delay = vec!["a".to_owned(), "a".to_owned()];
    });
    one_fault(&["topics.delay"], "not a topic name", |config| {
        config.topics.delay = vec!["a b".to_owned()];
    });
    one_fault(&["topics.delay"], "internal", |config| {
        config.topics.delay = vec!["__offsets".to_owned()];
    });
}

#[test]
fn dead_letters_are_no_delay_topic() {
    one_fault(
        &["topics.dead_letter", "topics.delay"],
        "as well",
        |config| {
            config.topics.dead_letter = config.topics.delay[0].clone();
        },
    );
}

#[test]
fn the_template_names_the_target_and_nothing_unknown() {
    one_fault(&["topics.output"], "{target} once", |config| {
        config.topics.output = "{priority}".to_owned();
    });
    one_fault(&["topics.output"], "{target} once", |config| {
        config.topics.output = "{target}{target}".to_owned();
    });
    one_fault(&["topics.output"], "has more in it", |config| {
        config.topics.output = "{target}.{tier}".to_owned();
    });
}

#[test]
fn no_allowed_target_is_published_to_a_delay_topic() {
    one_fault(
        &["topics.output", "topics.allow"],
        "\"orders.x\" at priority high would be published to \"orders.x.high\"",
        |config| config.topics.delay = vec!["orders.x.high".to_owned()],
    );
    one_fault(&["topics.output", "topics.allow"], "dead", |config| {
        config.topics.output = "dead.{target}".to_owned();
        config.topics.allow = vec!["letters".to_owned()];
        config.topics.dead_letter = "dead.letters".to_owned();
    });
}

#[test]
fn a_wide_allowlist_is_no_fault() {
    // The delay topic itself is refused as a target record by record.
    assert_eq!(
        broken(|config| {
            config.topics.allow = vec!["*".to_owned()];
            config.topics.output = "{target}".to_owned();
        }),
        []
    );
    // But with a suffix, `delayq` would come out as the delay topic.
    a_fault(&["topics.output", "topics.allow"], "\"delayq\"", |config| {
        config.topics.allow = vec!["*".to_owned()];
        config.topics.output = "{target}.delay".to_owned();
    });
}

#[test]
fn the_default_target_is_allowed() {
    one_fault(
        &["topics.default_target", "topics.allow"],
        "not allowed",
        |config| config.topics.default_target = Some("billing".to_owned()),
    );
    one_fault(&["topics.default_target"], "own topics", |config| {
        config.topics.default_target = Some("delayq.delay".to_owned());
    });
    assert_eq!(
        broken(|config| config.topics.default_target = Some("orders.eu".to_owned())),
        []
    );
}
