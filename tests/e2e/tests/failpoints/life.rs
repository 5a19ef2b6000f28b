//! One life of a role: a process of its own, which ends at a failpoint or is ended.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::process::{Child, Command};

const SIGABRT: i32 = 6;

pub struct Life {
    child: Child,
    log: File,
}

impl Life {
    pub fn start(role: &str, settings: &[String], failpoints: &str) -> anyhow::Result<Self> {
        let log = tempfile::tempfile().context("a log")?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_delayq-with-failpoints"));
        for (name, _) in std::env::vars_os() {
            let own = name.to_string_lossy();
            if own.starts_with("DELAYQ_") || own.starts_with("AWS_") {
                command.env_remove(&name);
            }
        }
        command
            .args(["run", role])
            .env("FAILPOINTS", failpoints)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.try_clone().context("a log")?)
            .kill_on_drop(true);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let child = command.spawn().context("delayq starts")?;
        Ok(Self { child, log })
    }

    /// Waits for it to die at that failpoint.
    pub async fn dies_at(mut self, failpoint: &str, limit: Duration) -> anyhow::Result<()> {
        let Ok(ended) = tokio::time::timeout(limit, self.child.wait()).await else {
            bail!("not hit within {limit:?}; {}", self.tail());
        };
        let status = ended.context("waited for")?;
        let words = format!("{} {failpoint}\n", delayq::failpoints::LAST_WORDS);
        ensure!(
            status.signal() == Some(SIGABRT) && self.said().ends_with(&words),
            "ended otherwise ({status}); {}",
            self.tail()
        );
        Ok(())
    }

    /// SIGTERM.
    pub async fn ask_to_stop(&self) -> anyhow::Result<()> {
        let pid = self.child.id().context("already ended")?.to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await?;
        ensure!(sent.success(), "kill -TERM {pid}");
        Ok(())
    }

    /// Ends it; an error if it has ended before, by itself.
    pub async fn end(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait().context("asked")? {
            bail!(
                "the second life ended by itself ({status}); {}",
                self.tail()
            );
        }
        self.child.kill().await.context("killed")
    }

    fn said(&mut self) -> String {
        let mut text = String::new();
        // The child writes with the same position: it is at the end.
        let read = self
            .log
            .rewind()
            .and_then(|()| self.log.read_to_string(&mut text));
        match read {
            Ok(_) => text,
            Err(error) => format!("its log cannot be read: {error}"),
        }
    }

    /// The end of its log.
    pub fn tail(&mut self) -> String {
        let said = self.said();
        let lines: Vec<_> = said.lines().rev().take(15).collect();
        let lines: Vec<_> = lines.into_iter().rev().collect();
        format!("its log ends:\n{}", lines.join("\n"))
    }
}
