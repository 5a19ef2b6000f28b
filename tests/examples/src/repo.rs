//! The working tree.

use std::fs;
use std::path::{Path, PathBuf};

/// Set to anything, generated documents are rewritten instead of compared.
const BLESS_ENV: &str = "DELAYQ_BLESS";

/// The root of the repository.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).expect("tests/examples")
}

/// `<cargo target>/examples`. A relative `CARGO_TARGET_DIR` counts from the root.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => root().join(dir),
        _ => root().join("target"),
    }
}

/// The text of a file, by its path from the root.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder, sorted; `keep` is asked with the path.
pub fn files(folder: &Path, keep: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if !keep(&path) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path, keep));
        } else {
            found.push(path);
        }
    }
    found.sort_unstable();
    found
}

/// Compares a generated document with the file, or writes the file if `DELAYQ_BLESS` is set.
pub fn same_or_bless(path: &str, wanted: &str) {
    let file = root().join(path);
    if std::env::var_os(BLESS_ENV).is_some() {
        fs::write(&file, wanted).unwrap_or_else(|error| panic!("{path}: {error}"));
        return;
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    if found == wanted {
        return;
    }
    let pairs = found.lines().zip(wanted.lines());
    let at = pairs.take_while(|(a, b)| a == b).count();
    panic!(
        "{path} is stale from line {}:\n  is:     {}\n  should: {}\nRewrite it: {BLESS_ENV}=1 cargo test -p delayq-examples-test --test documents",
        at + 1,
        found.lines().nth(at).unwrap_or("(end)"),
        wanted.lines().nth(at).unwrap_or("(end)"),
    );
}
