//! What is made once beside the jars so that every later start is quick: a class-data archive (the JVM maps the classes
//! instead of reading and checking them again: Kafka is ready in half the time), and Kafka's formatted data directory.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::StackError;
use crate::jars::Jars;
use crate::kafka;
use crate::launch::{Site, with_path};
use crate::options::Component;
use crate::ports::Port;
use crate::process::{self, Process};

const FILE: &str = "classes.jsa";
/// Writing 50 MB of archive at exit takes some seconds.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// The flag that uses the archive, if there is one. A JVM for which it does not fit ignores it.
pub(crate) fn flag(jars: &Jars) -> Option<OsString> {
    let path = jars.dir().join(FILE);
    path.exists()
        .then(|| with_path("-XX:SharedArchiveFile=", &path))
}

/// Formats Kafka's directory and makes the archive. An archive that cannot be made costs speed, not the stack.
pub(crate) async fn prepare(component: Component, jars: &Jars) -> Result<(), StackError> {
    if component == Component::Kafka {
        kafka::format(jars).await?;
    }
    // The manifest of DynamoDB Local's jar has its own directory on the class path, for which the JVM makes no archive.
    if component == Component::DynamoDb {
        return Ok(());
    }
    if let Err(error) = train(component, jars).await {
        // Whatever it is, the real start will show it, with a log that is kept.
        tracing::warn!(%component, %error, "no class-data archive; starts will be slower");
    }
    Ok(())
}

/// Starts the component once and lets the JVM write the classes it loaded when it is asked to end.
async fn train(component: Component, jars: &Jars) -> Result<(), StackError> {
    let dir = tempfile::Builder::new()
        .prefix("training-")
        .tempdir_in(jars.dir())
        .map_err(StackError::io(|| "create a directory for the training run"))?;
    let written = dir.path().join(FILE);
    let site = Site {
        component,
        jars: jars.clone(),
        dir: dir.path().to_owned(),
        port: Port::free()?,
        controller_port: Some(Port::free()?),
        kafka_properties: Vec::new(),
        classes: Vec::new(),
        jvm_flags: vec![with_path("-XX:ArchiveClassesAtExit=", &written)],
        keep_messages: false,
    };
    let process = site.start().await?;
    process::signal(process.pid(), "TERM")
        .await
        .map_err(StackError::io(|| "end the training run"))?;
    wait(process)
        .await
        .map_err(StackError::io(|| "wait for the end of the training run"))?;
    let to: PathBuf = jars.dir().join(FILE);
    fs::rename(written, to).map_err(StackError::io(|| "keep the class-data archive"))
}

async fn wait(process: Process) -> std::io::Result<()> {
    let pid = process.pid();
    let mut ended = tokio::task::spawn_blocking(move || {
        let mut process = process;
        process.wait()
    });
    if let Ok(joined) = tokio::time::timeout(WRITTEN_WITHIN, &mut ended).await {
        return joined.map_err(std::io::Error::other)?.map(drop);
    }
    process::signal(pid, "KILL").await?;
    ended.await.map_err(std::io::Error::other)?.map(drop)
}
