//! Regions of the example files, and the places in a document that show them.
//!
//! In an example, `snippet: NAME` and `snippet: end` in comments of their own enclose a region. In a document,
//! `<!-- snippet: FILE#NAME -->` stands right before the fenced block that shows it, indentation aside.

use crate::repo;

const MARK: &str = "snippet: ";
const PLACE: &str = "<!-- snippet: ";

/// Cuts a region out, without its common indentation.
pub fn cut(file: &str, text: &str, name: &str) -> String {
    let is_mark = |line: &str, of: &str| {
        line.trim()
            .trim_start_matches(['/', '#', ' '])
            .strip_prefix(MARK)
            == Some(of)
    };
    let mut lines: Vec<&str> = text
        .lines()
        .skip_while(|line| !is_mark(line, name))
        .skip(1)
        .take_while(|line| !is_mark(line, "end"))
        .collect();
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    assert!(!lines.is_empty(), "{file} has no snippet {name}");
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let filled = lines.iter().filter(|line| !line.trim().is_empty());
    let common = filled.map(indent).min().unwrap_or_default();
    let cut: Vec<&str> = lines
        .iter()
        .map(|line| line.get(common..).unwrap_or_default())
        .collect();
    cut.join("\n")
}

/// The document with every shown snippet as its file has it now, and how many there are.
pub fn filled_in(document: &str) -> (String, usize) {
    let mut out = String::new();
    let mut lines = document.lines();
    let mut count = 0;
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some(place) = line.trim().strip_prefix(PLACE) else {
            continue;
        };
        let place = place.trim_end_matches("-->").trim();
        let (file, name) = place
            .split_once('#')
            .unwrap_or_else(|| panic!("{place} is not FILE#NAME"));
        let fence = lines.next().unwrap_or_default();
        assert!(fence.starts_with("```"), "no fenced block after {line}");
        let closed = lines.by_ref().any(|line| line.trim() == "```");
        assert!(closed, "the block after {line} has no end");
        let snippet = cut(file, &repo::read(file), name);
        out.push_str(&format!("{fence}\n{snippet}\n```\n"));
        count += 1;
    }
    (out, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_loses_its_indentation_and_nothing_else() {
        let text = "a\n    // snippet: one\n    b {\n        c\n\n    }\n    // snippet: end\nd\n";
        assert_eq!(cut("f", text, "one"), "b {\n    c\n\n}");
    }

    #[test]
    #[should_panic(expected = "f has no snippet two")]
    fn a_missing_region_is_named() {
        cut("f", "# snippet: one\nx\n# snippet: end\n", "two");
    }
}
