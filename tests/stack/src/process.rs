//! One program (`java`, or a role of delayq under test), never outliving its owner.
//!
//! A `sh` watchdog starts it and waits for it; a second `sh` blocks on a pipe whose other end only this process holds.
//! However this process ends, the kernel closes that end, the read returns, and `java` gets SIGKILL. No code of ours has
//! to run for that, so it holds for SIGKILL and for statics that are never dropped.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Prints the pid, then ends with the program's exit status.
///
/// HUP is ignored from the start: when the owner dies while the program is stopped, the kernel sends HUP to the
/// orphaned process group, which must not take the watchdog before it did its duty. INT and TERM are left alone for the
/// program, which may be asked to end by TERM.
const WATCHDOG: &str = r#"
trap '' HUP
exec 3<&0 </dev/null
"$@" 3<&- >&2 &
program=$!
trap '' INT TERM
(read -r _ <&3; kill -s KILL "$program") >&2 &
reader=$!
exec 3<&-
echo "$program"
exec >&-
wait "$program"
status=$?
kill -s KILL "$reader" 2>/dev/null
exit "$status"
"#;

/// A running program and its watchdog. Killed on drop.
#[derive(Debug)]
pub struct Process {
    watchdog: Child,
    pid: u32,
}

impl Process {
    /// Starts `command` with its output appended to `log`. Blocks for the start of a `sh`.
    ///
    /// # Errors
    /// The log cannot be opened, or there is no `sh`.
    pub fn spawn(command: &[OsString], log: &Path) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "delayq-stack-watchdog"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // A group of its own: a terminal's Ctrl-C goes to the owner alone, which decides.
            .process_group(0)
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = watchdog.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(pid) => Ok(Self { watchdog, pid }),
            Err(_) => {
                watchdog.wait()?;
                Err(io::Error::other("the watchdog could not start the program"))
            }
        }
    }

    /// The program's own pid, not the watchdog's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its exit status, if it ended.
    ///
    /// # Errors
    /// Those of `waitpid`.
    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.watchdog.try_wait()
    }

    /// SIGKILL; returns when the program is gone. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Those of `waitpid`.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        // Waiting closes the pipe first, which is the order to kill.
        self.watchdog.wait()
    }

    /// Waits for it to end by itself.
    ///
    /// # Errors
    /// Those of `waitpid`.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let pipe = self.watchdog.stdin.take();
        let status = self.watchdog.wait();
        drop(pipe);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(pid = self.pid, %error, "could not wait for a stack process");
        }
    }
}

/// Sends a signal by name; `kill` of the shell, since a `kill` program is not everywhere.
///
/// # Errors
/// There is no such process.
pub async fn signal(pid: u32, name: &str) -> io::Result<()> {
    let status = tokio::process::Command::new("sh")
        .args(["-c", r#"kill -s "$1" "$2""#, "sh", name, &pid.to_string()])
        .stdin(Stdio::null())
        .status()
        .await?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("kill -s {name} {pid}: {status}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn alive(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_kill_returns_when_the_program_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let mut process =
            Process::spawn(&command(&["sleep", "600"]), &dir.path().join("log")).unwrap();
        let pid = process.pid();
        assert!(alive(pid));
        assert_eq!(process.exited().unwrap(), None);
        process.kill().unwrap();
        assert!(!alive(pid));
    }

    #[test]
    fn an_exit_by_itself_is_seen_with_its_status_and_output() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Process::spawn(
            &command(&["sh", "-c", "echo out; echo err >&2; exit 7"]),
            &log,
        )
        .unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(7));
        assert_eq!(std::fs::read_to_string(log).unwrap(), "out\nerr\n");
    }

    #[tokio::test]
    async fn a_stopped_program_is_killed_by_drop() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::spawn(&command(&["sleep", "600"]), &dir.path().join("log")).unwrap();
        let pid = process.pid();
        signal(pid, "STOP").await.unwrap();
        drop(process);
        assert!(!alive(pid));
    }
}
