//! What was tried, and how it went.

use serde::Serialize;

/// A point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Point {
    /// What must hold.
    pub name: &'static str,
    /// Whether it does.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// All points.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many hold.
    pub passed: usize,
    /// How many do not.
    pub failed: usize,
    /// Each.
    pub points: Vec<Point>,
}

impl Report {
    /// Adds a point.
    pub fn add(&mut self, point: Point) {
        if point.passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
        self.points.push(point);
    }
}
