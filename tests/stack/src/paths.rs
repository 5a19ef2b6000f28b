//! Where things live: everything the stack writes is below the cargo target directory.

use std::path::Path;
use std::path::PathBuf;

/// `<cargo target>/stack`. A relative `CARGO_TARGET_DIR` counts from the repository root, since tests run in their
/// package's folder.
pub(crate) fn stack_dir() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let repo = package.ancestors().nth(2).unwrap_or(package);
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => repo.join(dir),
        _ => repo.join("target"),
    }
    .join("stack")
}

/// Finds a program on the `PATH`; running it to see would cost a JVM's start.
pub(crate) fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
