//! The processes of delayq under test: this very binary, called as `delayq`, one for each slot.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use delayq_stack::{Process, signal};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::plan::{Slot, role_name};

/// The first argument by which this binary is `delayq`.
pub(crate) const AS_DELAYQ: &str = "delayq";

/// One slot's settings, binary and process.
struct Place {
    settings: Vec<String>,
    /// The words before `run`.
    delayq: Mutex<Vec<OsString>>,
    process: Mutex<Option<Process>>,
}

/// All of them. Each ends with this value, at the latest with this process.
pub(crate) struct Fleet {
    logs: PathBuf,
    places: BTreeMap<Slot, Place>,
}

/// How a process that was asked to stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// In time.
    Cleanly,
    /// It had to be killed, or left something undone.
    Not,
}

impl Fleet {
    /// Starts nothing yet. `delayq`: the binary, if it is not to be this one. `settings`: `section.field=value` of each slot.
    pub(crate) fn new(
        logs: &Path,
        delayq: Option<&Path>,
        settings: BTreeMap<Slot, Vec<String>>,
    ) -> anyhow::Result<Self> {
        let delayq = words(delayq)?;
        let place = |settings| Place {
            settings,
            delayq: Mutex::new(delayq.clone()),
            process: Mutex::new(None),
        };
        Ok(Self {
            logs: logs.to_owned(),
            places: settings
                .into_iter()
                .map(|(slot, settings)| (slot, place(settings)))
                .collect(),
        })
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.places.keys().copied()
    }

    fn place(&self, slot: Slot) -> anyhow::Result<&Place> {
        self.places
            .get(&slot)
            .with_context(|| format!("there is no {slot}"))
    }

    /// The log of a slot over all its processes.
    pub(crate) fn log(&self, slot: Slot) -> PathBuf {
        self.logs.join(format!("{slot}.log"))
    }

    /// Starts a slot that is empty.
    pub(crate) async fn start(&self, slot: Slot) -> anyhow::Result<()> {
        let place = self.place(slot)?;
        let mut process = place.process.lock().await;
        if process.is_some() {
            bail!("{slot} runs already");
        }
        let mut command = place.delayq.lock().await.clone();
        command.extend(["run", role_name(slot.role)].map(OsString::from));
        for setting in &place.settings {
            command.extend(["--set".into(), setting.into()]);
        }
        let log = self.log(slot);
        let started = tokio::task::spawn_blocking(move || Process::spawn(&command, &log)).await?;
        *process = Some(started.with_context(|| format!("start {slot}"))?);
        Ok(())
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) async fn kill(&self, slot: Slot) -> anyhow::Result<()> {
        let mut process = self.place(slot)?.process.lock().await;
        if let Some(mut running) = process.take() {
            tokio::task::spawn_blocking(move || running.kill()).await??;
        }
        Ok(())
    }

    /// `STOP` or `CONT`.
    pub(crate) async fn signal(&self, slot: Slot, name: &str) -> anyhow::Result<()> {
        let pid = self.pid(slot).await?;
        let pid = pid.with_context(|| format!("{slot} does not run"))?;
        signal(pid, name)
            .await
            .with_context(|| format!("SIG{name} to {slot}"))
    }

    /// SIGTERM; returns when it has ended, or has been killed after `limit`.
    pub(crate) async fn stop(&self, slot: Slot, limit: Duration) -> anyhow::Result<Stopped> {
        self.signal(slot, "TERM").await?;
        let mut process = self.place(slot)?.process.lock().await;
        let Some(mut running) = process.take() else {
            return Ok(Stopped::Not);
        };
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = running.exited()? {
                return Ok(if status.success() {
                    Stopped::Cleanly
                } else {
                    Stopped::Not
                });
            }
            if Instant::now() >= until {
                tokio::task::spawn_blocking(move || running.kill()).await??;
                return Ok(Stopped::Not);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops a slot as an upgrade does, and starts it from another binary (`None`: this one).
    pub(crate) async fn replace(
        &self,
        slot: Slot,
        binary: Option<&Path>,
        limit: Duration,
    ) -> anyhow::Result<Stopped> {
        let stopped = self.stop(slot, limit).await?;
        *self.place(slot)?.delayq.lock().await = words(binary)?;
        self.start(slot).await?;
        Ok(stopped)
    }

    /// The process in a slot.
    pub(crate) async fn pid(&self, slot: Slot) -> anyhow::Result<Option<u32>> {
        let process = self.place(slot)?.process.lock().await;
        Ok(process.as_ref().map(Process::pid))
    }

    /// Slots whose process has ended without being told to.
    pub(crate) async fn ended(&self) -> anyhow::Result<Vec<(Slot, String)>> {
        let mut ended = Vec::new();
        for (slot, place) in &self.places {
            if let Some(process) = place.process.lock().await.as_mut()
                && let Some(status) = process.exited()?
            {
                ended.push((*slot, status.to_string()));
            }
        }
        Ok(ended)
    }
}

/// What is called as `delayq`.
fn words(binary: Option<&Path>) -> anyhow::Result<Vec<OsString>> {
    Ok(match binary {
        Some(binary) => vec![binary.into()],
        None => {
            let this = std::env::current_exe().context("the path of this binary")?;
            vec![this.into(), AS_DELAYQ.into()]
        }
    })
}
