//! The stack itself: starts the chosen components at the same time, and lets a test hurt them one by one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::error::StackError;
use crate::jars::{self, JarSet};
use crate::launch::Site;
use crate::options::{Component, Endpoints, Ports, StackOptions};
use crate::paths::stack_dir;
use crate::ports::{self, Port};
use crate::process::{self, Process};
use crate::run_dir::RunDir;

/// A lost race for a free port is tried again with another one.
const PORT_ATTEMPTS: u32 = 5;
/// How often [`Stack::ended`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A running stack, ours or one named by the environment. Ours ends with this value, at the latest with this process.
/// All methods take `&self`: a static may hold it.
#[derive(Debug)]
pub struct Stack {
    endpoints: Endpoints,
    /// Empty for a stack that is not ours. Before the directory, so that processes end before it is removed.
    parts: BTreeMap<Component, Part>,
    run: Option<Arc<RunDir>>,
}

#[derive(Debug)]
struct Part {
    site: Site,
    process: Mutex<Option<Process>>,
}

impl Stack {
    /// Starts the chosen components at the same time; returns when all answer. The first use of a new `pom.xml` fetches
    /// the jars. On failure the work directory is kept, and the error names the log and its last lines.
    pub async fn start(options: StackOptions) -> Result<Self, StackError> {
        let parent = options
            .dir
            .clone()
            .unwrap_or_else(|| stack_dir().join("run"));
        let what = format!("make a work directory in {}", parent.display());
        let run = tokio::task::spawn_blocking(move || RunDir::create(&parent))
            .await
            .map_err(io::Error::other)
            .and_then(|run| run)
            .map_err(StackError::io(|| what))?;
        let run = Arc::new(run);
        let options = Arc::new(options);
        let mut starts = JoinSet::new();
        for component in Component::ALL {
            if options.components.contains(&component) {
                starts.spawn(start_part(
                    component,
                    Arc::clone(&options),
                    Arc::clone(&run),
                ));
            }
        }
        let mut parts = BTreeMap::new();
        while let Some(started) = starts.join_next().await {
            match started {
                Ok(Ok(part)) => parts.insert(part.site.component, part),
                Ok(Err(error)) => {
                    // The others may be half-way: their processes end before the caller hears of it.
                    starts.shutdown().await;
                    if matches!(error, StackError::NotReady { .. }) {
                        run.keep();
                    }
                    return Err(error);
                }
                Err(panic) => {
                    run.keep();
                    return Err(StackError::Io {
                        what: "start a component".to_owned(),
                        source: io::Error::other(panic),
                    });
                }
            };
        }
        let address = |component: Component, scheme: &str| {
            parts.get(&component).map_or_else(String::new, |part| {
                format!("{scheme}127.0.0.1:{}", part.site.port.number())
            })
        };
        let endpoints = Endpoints {
            kafka: address(Component::Kafka, ""),
            sqs: address(Component::ElasticMq, "http://"),
            dynamodb: address(Component::DynamoDb, "http://"),
        };
        Ok(Self {
            endpoints,
            parts,
            run: Some(run),
        })
    }

    /// Uses the stack named by `DELAYQ_STACK_KAFKA`, `DELAYQ_STACK_SQS` and `DELAYQ_STACK_DYNAMODB` (all three, else an
    /// error) without looking whether it is there; starts one if none of them is set.
    pub async fn from_env_or_start(options: StackOptions) -> Result<Self, StackError> {
        match Endpoints::from_env(|name| std::env::var(name).ok())? {
            Some(endpoints) => Ok(Self {
                endpoints,
                parts: BTreeMap::new(),
                run: None,
            }),
            None => Self::start(options).await,
        }
    }

    /// Where the components answer; the same over restarts.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// False for a stack named by the environment: its components cannot be killed, stopped or restarted.
    pub fn is_ours(&self) -> bool {
        self.run.is_some()
    }

    /// SIGKILL; returns when the process is gone.
    pub async fn kill(&self, component: Component) -> Result<(), StackError> {
        let mut slot = self.part(component)?.process.lock().await;
        let mut process = slot.take().ok_or(StackError::NotRunning(component))?;
        tokio::task::spawn_blocking(move || process.kill())
            .await
            .map_err(io::Error::other)
            .and_then(|killed| killed)
            .map(drop)
            .map_err(StackError::io(|| format!("kill {component}")))
    }

    /// Starts it again, on the same port; returns when it answers. Kafka and DynamoDB have their data, ElasticMQ only if told
    /// to keep it.
    pub async fn start_component(&self, component: Component) -> Result<(), StackError> {
        let part = self.part(component)?;
        let mut slot = part.process.lock().await;
        if running(component, &mut slot)? {
            return Err(StackError::AlreadyRunning(component));
        }
        match part.site.start().await {
            Ok(process) => {
                *slot = Some(process);
                Ok(())
            }
            Err(error) => {
                self.keep();
                Err(error)
            }
        }
    }

    /// SIGSTOP: it holds its connections and says nothing.
    pub async fn stop_process(&self, component: Component) -> Result<(), StackError> {
        self.signal(component, "STOP").await
    }

    /// SIGCONT.
    pub async fn cont_process(&self, component: Component) -> Result<(), StackError> {
        self.signal(component, "CONT").await
    }

    /// The pid of its `java`; none while it is down.
    pub async fn pid(&self, component: Component) -> Result<Option<u32>, StackError> {
        let mut slot = self.part(component)?.process.lock().await;
        Ok(if running(component, &mut slot)? {
            slot.as_ref().map(Process::pid)
        } else {
            None
        })
    }

    /// Waits until a component ends without having been killed; the error says which, with the end of its log.
    pub async fn ended(&self) -> Result<StackError, StackError> {
        loop {
            for (component, part) in &self.parts {
                let mut slot = part.process.lock().await;
                if slot.is_some() && !running(*component, &mut slot)? {
                    self.keep();
                    return Ok(part.site.not_ready("ended by itself".to_owned()));
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Its log over all restarts.
    pub fn logs(&self, component: Component) -> Result<PathBuf, StackError> {
        Ok(self.part(component)?.site.log())
    }

    /// Leaves logs and data behind when the stack ends, as `DELAYQ_STACK_KEEP` does.
    pub fn keep(&self) {
        if let Some(run) = &self.run {
            run.keep();
        }
    }

    async fn signal(&self, component: Component, name: &str) -> Result<(), StackError> {
        let slot = self.part(component)?.process.lock().await;
        let pid = slot
            .as_ref()
            .map(Process::pid)
            .ok_or(StackError::NotRunning(component))?;
        process::signal(pid, name)
            .await
            .map_err(StackError::io(|| format!("send SIG{name} to {component}")))
    }

    fn part(&self, component: Component) -> Result<&Part, StackError> {
        if !self.is_ours() {
            return Err(StackError::External(component));
        }
        self.parts
            .get(&component)
            .ok_or(StackError::NotChosen(component))
    }
}

fn running(component: Component, slot: &mut Option<Process>) -> Result<bool, StackError> {
    match slot {
        Some(process) => {
            let exited = process
                .exited()
                .map_err(StackError::io(|| format!("wait for {component}")))?;
            Ok(exited.is_none())
        }
        None => Ok(false),
    }
}

async fn start_part(
    component: Component,
    options: Arc<StackOptions>,
    run: Arc<RunDir>,
) -> Result<Part, StackError> {
    let fixed = match options.ports {
        Ports::Free => None,
        Ports::Fixed { kafka, .. } if component == Component::Kafka => Some(kafka),
        Ports::Fixed { sqs, .. } if component == Component::ElasticMq => Some(sqs),
        Ports::Fixed { dynamodb, .. } => Some(dynamodb),
    };
    if let Some(port) = fixed.filter(|port| !ports::is_free(*port)) {
        return Err(StackError::PortInUse { component, port });
    }
    let jars = jars::resolve(JarSet::Component(component)).await?;
    let is_kafka = component == Component::Kafka;
    let mut attempt = 1;
    loop {
        let site = Site {
            component,
            jars: jars.clone(),
            dir: run.path().to_owned(),
            port: fixed.map_or_else(Port::free, |port| Ok(Port::fixed(port)))?,
            controller_port: is_kafka.then(Port::free).transpose()?,
            kafka_properties: options.kafka_properties.clone(),
            classes: if component == Component::Kafka {
                options.kafka_classes.clone()
            } else {
                Vec::new()
            },
            jvm_flags: options
                .jvm_flags
                .get(&component)
                .into_iter()
                .flatten()
                .map(OsString::from)
                .collect(),
            keep_messages: options.keep_messages,
        };
        match site.start().await {
            Ok(process) => {
                return Ok(Part {
                    site,
                    process: Mutex::new(Some(process)),
                });
            }
            Err(error) if fixed.is_none() && attempt < PORT_ATTEMPTS && lost_the_port(&error) => {
                attempt += 1
            }
            Err(error) => return Err(error),
        }
    }
}

/// Somebody bound the port between our look and the component's bind.
fn lost_the_port(error: &StackError) -> bool {
    matches!(error, StackError::NotReady { tail, .. } if ["already in use", "BindException"].iter().any(|sign| tail.contains(sign)))
}
