//! A place in the dead-letter topic, as the commands print and take it.

use std::fmt;
use std::str::FromStr;

use delayq_core::record::Source;

/// `partition/offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Partition of the dead-letter topic.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(partition, offset)| {
            Some(Self {
                partition: partition.parse().ok().filter(|p| *p >= 0)?,
                offset: offset.parse().ok().filter(|o| *o >= 0)?,
            })
        });
        parsed.ok_or_else(|| {
            "a dead letter is named by PARTITION/OFFSET, such as 0/17: see `delayq dead-letters list`"
                .to_owned()
        })
    }
}

/// A letter by its place, or all letters of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Its place.
    At(Position),
    /// Where the record was first written.
    From(Source),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(source) = text.parse() {
            return Ok(Self::From(source));
        }
        match text.parse() {
            Ok(position) => Ok(Self::At(position)),
            Err(why) => Err(format!("{why}; or by its record's TOPIC/PARTITION/OFFSET")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_named_by_place_or_source() {
        let at = Position {
            partition: 2,
            offset: 17,
        };
        assert_eq!("2/17".parse(), Ok(Wanted::At(at)));
        assert_eq!(at.to_string(), "2/17");
        let Ok(Wanted::From(source)) = "orders.delay/0/5".parse() else {
            panic!("not read")
        };
        assert_eq!((&*source.at.topic, source.offset), ("orders.delay", 5));
        for bad in ["", "17", "a/b", "-1/3", "1/-3", "1/2/x"] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad}");
        }
    }
}
