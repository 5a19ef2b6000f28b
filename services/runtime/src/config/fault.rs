//! What is wrong with a configuration, all of it at once, in words that say what to do.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A TOML file.
    File(PathBuf),
    /// An environment variable, by its name.
    Env(String),
    /// A `--set` of the command line.
    Set,
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(out, "{}", path.display()),
            Self::Env(name) => write!(out, "environment {name}"),
            Self::Set => out.write_str("--set"),
        }
    }
}

/// A key that has part in a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The key, as `section.field`; or the file, variable or argument that could not be read at all.
    pub key: String,
    /// Where its value came from; `None` is the default (or not known).
    pub source: Option<Source>,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The keys it is about, the one to change first.
    pub places: Vec<Place>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    /// Whether it is about this key.
    #[must_use]
    pub fn concerns(&self, key: &str) -> bool {
        self.places.iter().any(|place| place.key == key)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.places.iter().enumerate() {
            if index > 0 {
                out.write_str(", ")?;
            }
            out.write_str(&place.key)?;
            match &place.source {
                Some(source) => write!(out, " ({source})")?,
                // Alone, a default says nothing: for a missing key there is no other source.
                None if self.places.len() > 1 => out.write_str(" (default)")?,
                None => {}
            }
        }
        write!(out, ": {}; {}", self.problem, self.remedy)
    }
}

/// Every fault that was found. Never empty when it is an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigErrors(Vec<Fault>);

impl ConfigErrors {
    /// The faults: first what could not be read, then what does not fit together.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.0
    }

    /// Adds a fault about `keys` (the one to change first).
    pub(super) fn add(
        &mut self,
        keys: &[&str],
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Fault {
            places: keys
                .iter()
                .map(|key| Place {
                    key: (*key).to_owned(),
                    source: None,
                })
                .collect(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    /// Adds a fault about one key of a known source.
    pub(super) fn add_from(
        &mut self,
        key: &str,
        source: Source,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let fault = Fault {
            places: vec![Place {
                key: key.to_owned(),
                source: Some(source),
            }],
            problem: problem.into(),
            remedy: remedy.into(),
        };
        if !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }

    pub(super) fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl IntoIterator for ConfigErrors {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => out.write_str("the configuration has a fault:")?,
            faults => write!(out, "the configuration has {faults} faults:")?,
        }
        for fault in &self.0 {
            write!(out, "\n  - {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
