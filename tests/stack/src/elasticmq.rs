//! ElasticMQ as SQS, in memory, with AWS's limits enforced.

use std::ffi::OsString;
use std::io;

use crate::launch::{Site, with_path, write_template};

const CONFIG: &str = include_str!("../../../deploy/local/elasticmq.conf");

/// Writes the config; returns flags, main class and arguments.
pub(crate) fn arguments(site: &Site) -> io::Result<Vec<OsString>> {
    let config = site.file("conf");
    write_template(
        &config,
        CONFIG,
        &[("sqs_port", site.port.number().to_string())],
    )?;
    Ok(vec![
        "-Xmx1g".into(),
        with_path("-Dconfig.file=", &config),
        "org.elasticmq.server.Main".into(),
    ])
}
