//! One line of `check`.

use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Not looked at.
    Skipped,
    /// It works, but not as well as it could.
    Warning,
    /// delayq does not work so, or not with every record.
    Problem,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do; empty where there is nothing to do.
    pub remedy: String,
}

impl Finding {
    /// As it should be.
    pub fn ok(what: impl Into<String>) -> Self {
        Self::new(Level::Ok, what, "")
    }

    /// Not looked at, and how to have it looked at.
    pub fn skipped(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Level::Skipped, what, remedy)
    }

    /// It works, but.
    pub fn warning(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Level::Warning, what, remedy)
    }

    /// It does not work.
    pub fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Level::Problem, what, remedy)
    }

    fn new(level: Level, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            level,
            // Some of what AWS and the system say has line breaks; a finding is a line.
            what: what.into().replace('\n', " "),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Skipped => "skipped",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        write!(out, "{level}: {}", self.what)?;
        if !self.remedy.is_empty() {
            write!(out, " -> {}", self.remedy)?;
        }
        Ok(())
    }
}
