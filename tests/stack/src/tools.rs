//! Kafka's console tools, as a producer or consumer that is not ours: what a user would try first.

use std::ffi::OsString;

use tokio::process::Command;

use crate::error::StackError;
use crate::jars::{self, JarSet};
use crate::launch;
use crate::options::Component;
use crate::paths::on_path;
use crate::stack::Stack;

/// The classpath of the broker itself, fetched on first use: to compile plugins of it.
///
/// # Errors
/// The jars cannot be had.
pub async fn broker_classpath() -> Result<OsString, StackError> {
    let jars = jars::resolve(JarSet::Component(Component::Kafka)).await?;
    jars.classpath()
        .map_err(StackError::io(|| "list the jars of kafka"))
}

impl Stack {
    /// The classpath of the console tools (Kafka 4.0.0), fetched on first use.
    pub async fn tools_classpath(&self) -> Result<OsString, StackError> {
        let jars = jars::resolve(JarSet::KafkaTools).await?;
        jars.classpath()
            .map_err(StackError::io(|| "list the jars of kafka-tools"))
    }

    /// `kafka-console-producer` on this stack and topic; one record per line of its stdin, ends at its end.
    /// Headers: `--property parse.headers=true`, then lines of `name:value,name:value<tab>record`.
    pub async fn console_producer(&self, topic: &str) -> Result<Command, StackError> {
        self.tool("org.apache.kafka.tools.ConsoleProducer", topic)
            .await
    }

    /// `kafka-console-consumer` on this stack and topic; add `--from-beginning`, `--max-messages`, `--timeout-ms`, and
    /// `--property print.headers=true` at will.
    pub async fn console_consumer(&self, topic: &str) -> Result<Command, StackError> {
        self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", topic)
            .await
    }

    async fn tool(&self, main_class: &str, topic: &str) -> Result<Command, StackError> {
        if !on_path("java") {
            return Err(StackError::MissingProgram {
                program: "java",
                package: "default-jre-headless",
            });
        }
        let jars = jars::resolve(JarSet::KafkaTools).await?;
        let flags =
            ["-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"].map(OsString::from);
        let words = [
            main_class,
            "--bootstrap-server",
            &self.endpoints().kafka,
            "--topic",
            topic,
        ]
        .map(OsString::from);
        let java = launch::java(&jars, &[], &flags, &words)
            .map_err(StackError::io(|| "list kafka-tools' jars"))?;
        let mut command = Command::new("java");
        command.args(java.iter().skip(1)).kill_on_drop(true);
        Ok(command)
    }
}
