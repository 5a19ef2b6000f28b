//! Apache Kafka: broker and controller in one process (KRaft).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use tokio::process::Command;

use crate::error::StackError;
use crate::jars::Jars;
use crate::launch::{self, Site, with_path, write_template};
use crate::options::Component;
use crate::ports::Port;

/// The broker's settings.
pub(crate) const PROPERTIES: &str = include_str!("../../../deploy/local/server.properties");
const LOG4J: &str = include_str!("../../../deploy/local/log4j2.properties");
/// Any will do: clusters never meet.
const CLUSTER_ID: &str = "AAAAAAAAQACAAAAAAAAAAQ";
const HEAP: [&str; 2] = ["-Xms256m", "-Xmx512m"];

/// Writes the config and, on a first start, the data directory; returns flags, main class and arguments.
pub(crate) fn arguments(site: &Site) -> io::Result<Vec<OsString>> {
    let data = site.file("data");
    if !data.exists() {
        copy_files(&formatted(&site.jars), &data)?;
    }
    let properties = site.file("properties");
    write_properties(&properties, &data, site)?;
    let log4j = site.file("log4j2.properties");
    fs::write(&log4j, LOG4J)?;
    let mut arguments: Vec<OsString> = HEAP.map(OsString::from).into();
    arguments.push(with_path("-Dlog4j2.configurationFile=", &log4j));
    arguments.push("kafka.Kafka".into());
    arguments.push(properties.into());
    Ok(arguments)
}

fn write_properties(to: &Path, data: &Path, site: &Site) -> io::Result<()> {
    let mut template = PROPERTIES.to_owned();
    for (name, value) in &site.kafka_properties {
        writeln!(template, "{name}={value}").map_err(io::Error::other)?;
    }
    let values = [
        ("kafka_port", site.port.number().to_string()),
        (
            "controller_port",
            site.controller_port
                .as_ref()
                .map_or(0, Port::number)
                .to_string(),
        ),
        ("data_dir", data.display().to_string()),
    ];
    write_template(to, &template, &values)
}

/// A data directory as the storage tool leaves it. It names no port, so one is copied for every start, which saves a
/// JVM's start (1 s) each time.
fn formatted(jars: &Jars) -> std::path::PathBuf {
    jars.dir().join("formatted")
}

/// Runs the storage tool, once per set of jars.
pub(crate) async fn format(jars: &Jars) -> Result<(), StackError> {
    let properties = jars.dir().join("format.properties");
    let values = [
        ("kafka_port", "1".to_owned()),
        ("controller_port", "2".to_owned()),
        ("data_dir", formatted(jars).display().to_string()),
    ];
    write_template(&properties, PROPERTIES, &values)
        .map_err(StackError::io(|| "write kafka's properties"))?;
    let arguments =
        ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"].map(OsString::from);
    let mut command =
        launch::java(jars, &[], &[], &arguments).map_err(StackError::io(|| "list kafka's jars"))?;
    command.push(properties.into());
    let output = Command::new("java")
        .args(command.iter().skip(1))
        .kill_on_drop(true)
        .output()
        .await
        .map_err(StackError::io(|| "run kafka's storage tool"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(StackError::NotReady {
        component: Component::Kafka,
        what: format!("storage could not be formatted ({})", output.status),
        log: jars.dir().to_owned(),
        tail: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
