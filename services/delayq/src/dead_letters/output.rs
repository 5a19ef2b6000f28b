//! What the commands print: lines for people or JSON objects, one a line, on standard output; remarks beside them.

use std::io;

use serde_json::Value;

/// Takes a line.
pub type Line<'a> = &'a mut (dyn FnMut(&str) -> io::Result<()> + Send);

/// Where lines go.
pub struct Output<'a> {
    /// JSON objects in place of lines for people.
    pub json: bool,
    /// Results.
    pub out: Line<'a>,
    /// Remarks, for people.
    pub note: Line<'a>,
}

impl Output<'_> {
    /// A result in either form.
    pub(super) fn result(&mut self, line: &str, json: &Value) -> io::Result<()> {
        if self.json {
            (self.out)(&json.to_string())
        } else {
            (self.out)(line)
        }
    }

    /// A result that people get as a remark: the summary, which must not be taken for a letter.
    pub(super) fn summary(&mut self, line: &str, json: &Value) -> io::Result<()> {
        if self.json {
            (self.out)(&json.to_string())
        } else {
            (self.note)(line)
        }
    }
}
