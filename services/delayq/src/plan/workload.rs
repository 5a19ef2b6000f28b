//! What is planned for, as it is typed: `100M/day`, `1KiB`, `uniform:5m..7d`.

use std::str::FromStr;
use std::time::Duration;

/// Records a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

/// A number of records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Count(pub f64);

/// Bytes of a record's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size(pub f64);

/// Delays spread evenly between two times; both the same for one delay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delays {
    /// Shortest, in seconds.
    pub from_s: f64,
    /// Longest, in seconds.
    pub to_s: f64,
}

fn number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1.0));
    let value: f64 = digits.trim().parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(value * factor)
}

const THOUSANDS: [(&str, f64); 4] = [("k", 1e3), ("M", 1e6), ("G", 1e9), ("B", 1e9)];

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let help = || format!("{text:?} is no rate: write it as 1000/s, 50k/h or 100M/day");
        let (count, per) = text.split_once('/').ok_or_else(help)?;
        let seconds = match per {
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            "day" | "d" => 86_400.0,
            _ => return Err(help()),
        };
        let count = number(count, &THOUSANDS).filter(|n| *n > 0.0);
        Ok(Self(count.ok_or_else(help)? / seconds))
    }
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number(text, &THOUSANDS)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no number: write it as 5000, 50k or 10M"))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let units = [
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("KB", 1e3),
            ("MB", 1e6),
            ("B", 1.0),
        ];
        number(text, &units)
            .filter(|bytes| (1.0..=1_048_576.0).contains(bytes))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size of a record: write it as 300B, 1KiB or 1MiB, which is the most"))
    }
}

impl FromStr for Delays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let help = || format!("{text:?} are no delays: write them as 30m, or uniform:5m..7d");
        let seconds = |text: &str| -> Option<f64> {
            let duration: Duration = humantime::parse_duration(text.trim()).ok()?;
            Some(duration.as_secs_f64())
        };
        let (from_s, to_s) = match text.strip_prefix("uniform:") {
            Some(range) => {
                let (from, to) = range.split_once("..").ok_or_else(help)?;
                (
                    seconds(from).ok_or_else(help)?,
                    seconds(to).ok_or_else(help)?,
                )
            }
            None => {
                let one = seconds(text).ok_or_else(help)?;
                (one, one)
            }
        };
        if from_s > to_s {
            return Err(format!("{text:?}: the shortest delay comes first"));
        }
        Ok(Self { from_s, to_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_sizes_and_delays_are_read_as_people_write_them() {
        assert_eq!("1000/s".parse(), Ok(Rate(1000.0)));
        assert_eq!("86.4M/day".parse(), Ok(Rate(1000.0)));
        assert_eq!("36k/h".parse(), Ok(Rate(10.0)));
        assert_eq!("10M".parse(), Ok(Count(1e7)));
        assert_eq!("1KiB".parse(), Ok(Size(1024.0)));
        assert_eq!("300B".parse(), Ok(Size(300.0)));
        let week = Delays {
            from_s: 300.0,
            to_s: 604_800.0,
        };
        assert_eq!("uniform:5m..7d".parse(), Ok(week));
        assert_eq!(
            "30m".parse(),
            Ok(Delays {
                from_s: 1800.0,
                to_s: 1800.0
            })
        );
    }

    #[test]
    fn what_is_none_is_refused_with_an_example() {
        for text in ["1000", "x/s", "-1/s", "0/s", "5/fortnight"] {
            assert!(
                text.parse::<Rate>().unwrap_err().contains("100M/day"),
                "{text}"
            );
        }
        for text in ["0B", "2MiB", "x"] {
            assert!(text.parse::<Size>().unwrap_err().contains("1KiB"), "{text}");
        }
        for text in ["", "5", "uniform:5m", "uniform:x..7d"] {
            assert!(
                text.parse::<Delays>()
                    .unwrap_err()
                    .contains("uniform:5m..7d"),
                "{text}"
            );
        }
        assert!(
            "uniform:7d..5m"
                .parse::<Delays>()
                .unwrap_err()
                .contains("first")
        );
    }
}
