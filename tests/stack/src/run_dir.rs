//! The work directory of one stack: logs, configs, data. Locked while its owner lives, so that a later stack can tell the
//! directories of the dead.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// Kept directories (failures, `DELAYQ_STACK_KEEP`) beyond the newest this many are removed.
const KEPT_MAX: usize = 5;
const KEEP_ENV: &str = "DELAYQ_STACK_KEEP";
/// Marks a directory as kept on purpose.
const KEEP_MARK: &str = "KEPT";
const OWNER_LOCK: &str = "owner.lock";

/// Removed on drop unless kept.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    keep: AtomicBool,
    /// Held locked until the end of this process at the latest.
    _owner: File,
}

impl RunDir {
    /// Makes a fresh one below `parent`, after removing those of dead owners.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        // Between making a directory and locking it, it looks dead: nobody sweeps meanwhile.
        let gate = File::create(parent.join("sweep.lock"))?;
        gate.lock()?;
        sweep(parent)?;
        let path = tempfile::Builder::new()
            .prefix("")
            .rand_bytes(8)
            .tempdir_in(parent)?
            .keep();
        let owner = File::create(path.join(OWNER_LOCK))?;
        owner.lock()?;
        let keep = AtomicBool::new(std::env::var_os(KEEP_ENV).is_some());
        Ok(Self {
            path,
            keep,
            _owner: owner,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it behind for reading.
    pub(crate) fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // A failing test panics while it drops its stack: the logs are what explains it.
        let done = if std::thread::panicking() || self.keep.load(Ordering::Relaxed) {
            eprintln!(
                "delayq-stack: logs and data kept in {}",
                self.path.display()
            );
            File::create(self.path.join(KEEP_MARK)).map(drop)
        } else {
            fs::remove_dir_all(&self.path)
        };
        if let Err(error) = done {
            tracing::warn!(path = %self.path.display(), %error, "stack work directory");
        }
    }
}

/// Removes the directories of dead owners, but for the newest kept ones.
fn sweep(parent: &Path) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let dead = File::open(path.join(OWNER_LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if !dead {
            continue;
        }
        match fs::metadata(path.join(KEEP_MARK)).and_then(|mark| mark.modified()) {
            Ok(time) => kept.push((time, path)),
            Err(_) => remove(&path),
        }
    }
    kept.sort_unstable();
    let surplus = kept.len().saturating_sub(KEPT_MAX);
    kept.iter().take(surplus).for_each(|(_, path)| remove(path));
    Ok(())
}

/// A dying process may still write there; then the next sweep gets it.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::debug!(path = %path.display(), %error, "stale stack directory stays for now");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(parent: &Path) -> usize {
        fs::read_dir(parent)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    }

    #[test]
    fn the_dead_are_swept_the_living_stay_and_few_are_kept() {
        let parent = tempfile::tempdir().unwrap();
        let living = RunDir::create(parent.path()).unwrap();
        let stale = parent.path().join("stale");
        fs::create_dir(&stale).unwrap();
        File::create(stale.join(OWNER_LOCK)).unwrap();
        for _ in 0..KEPT_MAX + 2 {
            RunDir::create(parent.path()).unwrap().keep();
        }
        let last = RunDir::create(parent.path()).unwrap();
        assert!(!stale.exists());
        assert!(living.path().exists());
        assert_eq!(entries(parent.path()), KEPT_MAX + 2);
        drop(last);
        assert_eq!(entries(parent.path()), KEPT_MAX + 1);
    }
}
