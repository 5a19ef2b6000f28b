//! The roles as processes: this binary again, one for each role, ended with the bench.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use delayq_stack::{Port, Process, Usage, signal};
use tokio::time::Instant;

use super::Tiers;
use super::metrics::Scrape;

/// How long the roles may take to be ready.
const READY: Duration = Duration::from_secs(90);
const STOPPED: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often counters are looked at, which takes something of the processes that are measured.
pub(crate) const COUNT_AGAIN: Duration = Duration::from_millis(100);

/// One process.
struct Running {
    name: String,
    process: Process,
    port: Port,
}

/// Running roles.
pub(crate) struct Roles {
    running: Vec<Running>,
    logs: PathBuf,
}

impl Roles {
    /// So many processes of each of these roles; over tiers in memory one with all.
    pub(super) async fn start(
        tiers: Tiers,
        which: &[&str],
        set: &[String],
        replicas: u32,
    ) -> anyhow::Result<Self> {
        let one = |words: &[&str], name: &str| {
            (words.iter().map(OsString::from).collect(), name.to_owned())
        };
        let commands: Vec<(Vec<OsString>, String)> = match tiers {
            Tiers::Stack => which.iter().map(|role| one(&["run", role], role)).collect(),
            Tiers::Embedded => vec![one(&["bench", "roles"], "all")],
        };
        let logs = std::env::temp_dir().join(format!("delayq-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let mut roles = Self {
            running: Vec::new(),
            logs,
        };
        let replicas = match tiers {
            Tiers::Stack => replicas,
            Tiers::Embedded => 1,
        };
        for (words, name) in commands {
            for replica in 1..=replicas {
                let name = match replicas {
                    1 => name.clone(),
                    _ => format!("{name}-{replica}"),
                };
                roles.spawn(words.clone(), name, set).await?;
            }
        }
        roles.until_ready().await?;
        Ok(roles)
    }

    async fn spawn(
        &mut self,
        words: Vec<OsString>,
        name: String,
        set: &[String],
    ) -> anyhow::Result<()> {
        let port = Port::free()?;
        let this = std::env::current_exe().context("the path of this binary")?;
        let mut command = vec![this.into_os_string()];
        command.extend(words);
        let listen = format!("http.listen=127.0.0.1:{}", port.number());
        for setting in set.iter().chain([&listen]) {
            command.extend(["--set".into(), setting.into()]);
        }
        let log = self.logs.join(format!("{name}.log"));
        let process = tokio::task::spawn_blocking(move || Process::spawn(&command, &log))
            .await?
            .with_context(|| format!("start {name}"))?;
        self.running.push(Running {
            name,
            process,
            port,
        });
        Ok(())
    }

    /// A load on roles that are still starting would measure the start.
    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + READY;
        let logs = self.logs.display().to_string();
        for one in &mut self.running {
            loop {
                if let Some(status) = one.process.exited()? {
                    bail!(
                        "{} ended at its start ({status}); its log is in {logs}",
                        one.name
                    );
                }
                if Scrape::is_ready(one.port.number()).await {
                    break;
                }
                if Instant::now() >= until {
                    bail!(
                        "{} was not ready within {} s; its log is in {logs}",
                        one.name,
                        READY.as_secs()
                    );
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// Name and id of each.
    pub(crate) fn pids(&self) -> Vec<(String, u32)> {
        let each = self.running.iter();
        each.map(|one| (one.name.clone(), one.process.pid()))
            .collect()
    }

    /// What each has taken since its start.
    pub(crate) fn usage(&self) -> anyhow::Result<BTreeMap<String, Usage>> {
        self.running
            .iter()
            .map(|one| {
                let usage = Usage::of(one.process.pid()).with_context(|| {
                    format!("{}; its log is in {}", one.name, self.logs.display())
                })?;
                Ok((one.name.clone(), usage))
            })
            .collect()
    }

    /// The metrics of all, added up.
    pub(crate) async fn metrics(&self) -> anyhow::Result<Scrape> {
        self.metrics_of("").await
    }

    /// The metrics of the processes of one role.
    pub(crate) async fn metrics_of(&self, role: &str) -> anyhow::Result<Scrape> {
        let mut all = Scrape::default();
        for one in self.running.iter().filter(|one| one.name.starts_with(role)) {
            let scraped = Scrape::of(one.port.number()).await;
            all.add(scraped.with_context(|| format!("metrics of {}", one.name))?);
        }
        Ok(all)
    }

    /// Waits until a counter of theirs has reached `goal` and, if one is named, a gauge is 0; answers with the seconds that took.
    ///
    /// # Errors
    /// The counter has not grown for `patience`.
    pub(crate) async fn until_counted(
        &self,
        counter: &str,
        goal: f64,
        zero: Option<&str>,
        patience: Duration,
    ) -> anyhow::Result<f64> {
        let started = Instant::now();
        let (mut reached, mut grew) = (0.0, started);
        loop {
            let metrics = self.metrics().await?;
            let now = metrics.sum(counter, &[]);
            if now >= goal && zero.is_none_or(|gauge| metrics.sum(gauge, &[]) == 0.0) {
                return Ok(started.elapsed().as_secs_f64());
            }
            if now > reached {
                (reached, grew) = (now, Instant::now());
            } else if grew.elapsed() >= patience {
                bail!(
                    "{counter} has been {now} of {goal} for {} s",
                    patience.as_secs()
                );
            }
            tokio::time::sleep(COUNT_AGAIN).await;
        }
    }

    /// Waits until the router has taken so many records in and handed all of them over; answers with the seconds that took.
    pub(crate) async fn until_taken_in(
        &self,
        records: f64,
        patience: Duration,
    ) -> anyhow::Result<f64> {
        let (taken_in, held) = ("delayq_router_routed_total", "delayq_router_held_bytes");
        self.until_counted(taken_in, records, Some(held), patience)
            .await
    }

    /// Asks them to stop, and waits. A role that does not end well is an error.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for one in &self.running {
            signal(one.process.pid(), "TERM").await?;
        }
        let until = Instant::now() + STOPPED;
        for one in &mut self.running {
            loop {
                match one.process.exited()? {
                    Some(status) if status.success() => break,
                    Some(status) => bail!(
                        "{} ended with {status}; its log is in {}",
                        one.name,
                        self.logs.display()
                    ),
                    None if Instant::now() >= until => bail!(
                        "{} did not stop within {} s; its log is in {}",
                        one.name,
                        STOPPED.as_secs(),
                        self.logs.display()
                    ),
                    None => tokio::time::sleep(LOOK_AGAIN).await,
                }
            }
        }
        std::fs::remove_dir_all(&self.logs).with_context(|| self.logs.display().to_string())?;
        Ok(())
    }
}
