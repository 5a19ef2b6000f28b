//! A dead letter, read: what its headers say, and how it is shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SecondsFormat};
use delayq_core::clock::EpochMs;
use delayq_core::headers::{
    ERROR_CODE, ERROR_DETAIL, ERROR_PAYLOAD, ERROR_PAYLOAD_CHUNKS, ERROR_PRIORITY, ERROR_TOPIC,
    HeaderNames, OUT_DUE_MS, OUT_REDRIVES, OUT_SOURCE,
};
use delayq_core::record::{Incoming, Record};
use serde_json::{Value, json};

use super::position::Position;
use super::select::Facts;

/// Longest detail in a line of `list`, in characters.
const DETAIL_MAX_CHARS: usize = 160;

/// A record of the dead-letter topic.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) at: Position,
    /// When the broker took it.
    pub(super) written_ms: Option<EpochMs>,
    /// Neither redriven nor purged.
    pub(super) open: bool,
    pub(super) record: Record,
}

impl Letter {
    pub(super) fn new(incoming: Incoming, open: bool) -> Self {
        Self {
            at: Position {
                partition: incoming.source.at.partition,
                offset: incoming.source.offset,
            },
            written_ms: incoming.timestamp_ms,
            open,
            record: incoming.record,
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.record.header_text(name)
    }

    pub(super) fn facts(&self, names: &HeaderNames) -> Facts<'_> {
        Facts {
            reason: self.text(ERROR_CODE),
            target: self.text(&names.target),
            output_topic: self.text(ERROR_TOPIC),
            source: self.text(OUT_SOURCE),
            written_ms: self.written_ms,
        }
    }

    /// Name and number of chunks in the payload table, if its content is there.
    pub(super) fn stored(&self) -> Option<(&str, &str)> {
        Some((self.text(ERROR_PAYLOAD)?, self.text(ERROR_PAYLOAD_CHUNKS)?))
    }

    pub(super) fn redrives(&self) -> u32 {
        redrives(&self.record)
    }

    /// One line for people.
    pub(super) fn line(&self, names: &HeaderNames) -> String {
        let facts = self.facts(names);
        let mut line = format!(
            "{}  {}  {}  {}  from {}",
            self.at,
            time(self.written_ms),
            plain(facts.reason.unwrap_or("(no reason)")),
            plain(facts.target.or(facts.output_topic).unwrap_or("(no target)")),
            plain(facts.source.unwrap_or("(unknown)")),
        );
        if self.redrives() > 0 {
            line.push_str(&format!("  redriven {} times", self.redrives()));
        }
        if !self.open {
            line.push_str("  (done)");
        }
        if let Some(detail) = self.text(ERROR_DETAIL) {
            let mut cut: String = plain(detail).chars().take(DETAIL_MAX_CHARS).collect();
            if cut.len() < detail.len() && detail.chars().count() > DETAIL_MAX_CHARS {
                cut.push('…');
            }
            line.push_str(&format!("  {cut}"));
        }
        line
    }

    /// What `list --json` prints.
    pub(super) fn json(&self, names: &HeaderNames) -> Value {
        let facts = self.facts(names);
        json!({
            "letter": self.at.to_string(),
            "open": self.open,
            "written": self.written_ms.map(|_| time(self.written_ms)),
            "reason": facts.reason,
            "detail": self.text(ERROR_DETAIL),
            "target": facts.target,
            "output_topic": facts.output_topic,
            "priority": self.text(ERROR_PRIORITY).or_else(|| self.text(&names.priority)),
            "source": facts.source,
            "due_ms": self.text(OUT_DUE_MS).and_then(|ms| ms.parse::<i64>().ok()),
            "redrives": self.redrives(),
            "value_bytes": self.record.value.as_ref().map(bytes::Bytes::len),
            "payload": self.text(ERROR_PAYLOAD),
        })
    }

    /// What `show --json` prints; `content` is the record, loaded if it was stored elsewhere.
    pub(super) fn json_whole(&self, names: &HeaderNames, content: &Record) -> Value {
        let mut shown = self.json(names);
        if let Value::Object(fields) = &mut shown {
            let headers: Vec<Value> = content
                .headers
                .iter()
                .map(|header| {
                    json!({"name": &*header.name, "value": bytes_json(header.value.as_deref())})
                })
                .collect();
            fields.insert("headers".to_owned(), headers.into());
            fields.insert("key".to_owned(), bytes_json(content.key.as_deref()));
            fields.insert("value".to_owned(), bytes_json(content.value.as_deref()));
        }
        shown
    }

    /// What `show` prints for people.
    pub(super) fn whole(&self, content: &Record) -> Vec<String> {
        let state = if self.open { "open" } else { "done" };
        let mut lines = vec![
            format!("dead letter {}, {state}", self.at),
            format!("written  {}", time(self.written_ms)),
            format!("key      {}", shown(content.key.as_deref())),
        ];
        for header in &content.headers {
            lines.push(format!(
                "header   {} = {}",
                plain(&header.name),
                shown(header.value.as_deref())
            ));
        }
        let size = content.value.as_ref().map_or(0, bytes::Bytes::len);
        lines.push(format!("value    {size} bytes"));
        lines.push(match content.value.as_deref().map(std::str::from_utf8) {
            // Its own line breaks are kept, nothing else that a terminal would obey.
            Some(Ok(text)) => text.split('\n').map(plain).collect::<Vec<_>>().join("\n"),
            _ => shown(content.value.as_deref()),
        });
        lines
    }
}

/// How often a record was sent again from the dead letters.
pub(super) fn redrives(record: &Record) -> u32 {
    let count = record.header_text(OUT_REDRIVES);
    count.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// RFC 3339 in UTC.
fn time(ms: Option<EpochMs>) -> String {
    match ms.and_then(DateTime::from_timestamp_millis) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => "(no time)".to_owned(),
    }
}

/// Without what a terminal would obey: a producer's text must not move an operator's cursor.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

fn shown(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "(null)".to_owned(),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => plain(text),
            Err(_) => format!("base64:{}", BASE64.encode(bytes)),
        },
    }
}

/// Text as a string, other bytes as `{"base64": …}`, Kafka's null as null.
fn bytes_json(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => text.into(),
        Some((bytes, Err(_))) => json!({"base64": BASE64.encode(bytes)}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use delayq_core::record::Header;

    fn letter(headers: &[(&str, &str)], value: &'static [u8]) -> Letter {
        Letter {
            at: Position {
                partition: 0,
                offset: 17,
            },
            written_ms: Some(1_700_000_000_123),
            open: true,
            record: Record {
                key: None,
                value: Some(Bytes::from_static(value)),
                headers: headers.iter().map(|(n, v)| Header::text(*n, *v)).collect(),
            },
        }
    }

    #[test]
    fn a_line_obeys_no_producer() {
        let names = HeaderNames::default();
        let evil = "x\u{1b}[2J\r\nfake line";
        let line = letter(
            &[
                ("delay-error", "invalid-delay"),
                ("delay-error-detail", evil),
                ("delay-target", evil),
            ],
            b"",
        )
        .line(&names);
        assert!(!line.contains(char::is_control), "{line:?}");
        for part in [
            "0/17",
            "2023-11-14T22:13:20.123Z",
            "invalid-delay",
            "[2J",
            "(unknown)",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        let long = letter(&[("delay-error-detail", &"é".repeat(5_000))], b"").line(&names);
        assert!(long.chars().count() < 300 && long.ends_with('…'), "{long}");
    }

    #[test]
    fn what_is_no_text_is_shown_in_base64() {
        let binary = letter(&[], &[0xff, 0xfe]);
        let whole = binary.whole(&binary.record).join("\n");
        assert!(whole.ends_with("base64://4="), "{whole}");
        let json = binary.json_whole(&HeaderNames::default(), &binary.record);
        assert_eq!(json["value"]["base64"], "//4=");
        assert_eq!(json["key"], Value::Null);
        assert_eq!(json["letter"], "0/17");
    }
}
