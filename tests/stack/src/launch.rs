//! Starts one component on given ports in a given directory and waits until it answers. Used by [`crate::stack`] for
//! starts and restarts, and by [`crate::archive`] for the training run.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::archive;
use crate::error::StackError;
use crate::jars::Jars;
use crate::options::Component;
use crate::paths::on_path;
use crate::ports::Port;
use crate::process::Process;
use crate::{dynamodb, elasticmq, kafka, ready};

/// Quick start over peak speed: a stack lives for seconds.
const QUICK_START: [&str; 2] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
/// Two busy cores and a cold page cache take a few seconds; this is for worse.
const READY_WITHIN: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_millis(20);
const TAIL_LINES: usize = 30;
const TAIL_BYTES: u64 = 64 * 1024;

/// All that a start and its restarts need to know.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) component: Component,
    pub(crate) jars: Jars,
    /// Work directory, shared by the components.
    pub(crate) dir: PathBuf,
    pub(crate) port: Port,
    /// Kafka's second port; others have none.
    pub(crate) controller_port: Option<Port>,
    pub(crate) kafka_properties: Vec<(String, String)>,
    /// After the jars.
    pub(crate) classes: Vec<PathBuf>,
    /// After the default flags.
    pub(crate) jvm_flags: Vec<OsString>,
    /// ElasticMQ: messages in a file.
    pub(crate) keep_messages: bool,
}

impl Site {
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.component))
    }

    /// A file or directory of this component.
    pub(crate) fn file(&self, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}.{suffix}", self.component))
    }

    /// Starts the process; returns when it answers.
    pub(crate) async fn start(&self) -> Result<Process, StackError> {
        if !on_path("java") {
            return Err(StackError::MissingProgram {
                program: "java",
                package: "default-jre-headless",
            });
        }
        let arguments = match self.component {
            Component::Kafka => kafka::arguments(self),
            Component::ElasticMq => elasticmq::arguments(self),
            Component::DynamoDb => dynamodb::arguments(self),
        }
        .map_err(StackError::io(|| {
            format!("write the files of {}", self.component)
        }))?;
        let command = java(&self.jars, &self.classes, &self.jvm_flags, &arguments).map_err(
            StackError::io(|| format!("list {}", self.jars.lib().display())),
        )?;
        let log = self.log();
        let mut process = tokio::task::spawn_blocking(move || Process::spawn(&command, &log))
            .await
            .map_err(io::Error::other)
            .and_then(|process| process)
            .map_err(StackError::io(|| format!("start {}", self.component)))?;
        self.ready(&mut process).await?;
        Ok(process)
    }

    async fn ready(&self, process: &mut Process) -> Result<(), StackError> {
        let began = Instant::now();
        let mut probe = ready::Probe::new(self.component, self.port.number());
        loop {
            let answered = probe.answers().await?;
            let exited = process
                .exited()
                .map_err(StackError::io(|| format!("wait for {}", self.component)))?;
            if let Some(status) = exited {
                return Err(self.not_ready(format!("ended before it was ready ({status})")));
            }
            if answered {
                tracing::info!(component = %self.component, seconds = began.elapsed().as_secs_f32(), "ready");
                return Ok(());
            }
            if began.elapsed() > READY_WITHIN {
                return Err(self.not_ready(format!(
                    "did not answer within {} s",
                    READY_WITHIN.as_secs()
                )));
            }
            sleep(PROBE_EVERY).await;
        }
    }

    /// The error for a component that is not there, with the end of its log.
    pub(crate) fn not_ready(&self, what: String) -> StackError {
        let log = self.log();
        let tail = tail(&log).unwrap_or_else(|error| format!("(unreadable: {error})"));
        StackError::NotReady {
            component: self.component,
            what,
            log,
            tail,
        }
    }
}

/// `java` with the set's classpath, these classes after it and, if one was made, its class-data archive.
pub(crate) fn java(
    jars: &Jars,
    classes: &[PathBuf],
    flags: &[OsString],
    arguments: &[OsString],
) -> io::Result<Vec<OsString>> {
    let mut command = vec![OsString::from("java")];
    command.extend(QUICK_START.map(OsString::from));
    command.extend(archive::flag(jars));
    command.push("-cp".into());
    command.push(jars.classpath_with(classes)?);
    // The component's own flags come first among these, then its main class: flags of a caller must lie between.
    let main = arguments
        .iter()
        .position(|argument| !argument.as_encoded_bytes().starts_with(b"-"))
        .unwrap_or(arguments.len());
    let (own, rest) = arguments.split_at(main);
    command.extend(own.iter().chain(flags).chain(rest).cloned());
    Ok(command)
}

/// `prefix` and a path in one argument.
pub(crate) fn with_path(prefix: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(prefix);
    argument.push(path);
    argument
}

/// Writes a template of `deploy/local` with `{name}` replaced. A name that the template lacks is an error: the value
/// would be lost without a word.
pub(crate) fn write_template(
    to: &Path,
    template: &str,
    values: &[(&str, String)],
) -> io::Result<()> {
    let mut text = template.to_owned();
    for (name, value) in values {
        let place = format!("{{{name}}}");
        if !text.contains(&place) {
            return Err(io::Error::other(format!(
                "the template of {} has no {place}",
                to.display()
            )));
        }
        text = text.replace(&place, value);
    }
    fs::write(to, text)
}

fn tail(log: &Path) -> io::Result<String> {
    let mut file = fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines
        .split_at(lines.len().saturating_sub(TAIL_LINES))
        .1
        .join("\n"))
}
