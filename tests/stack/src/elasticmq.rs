//! ElasticMQ as SQS, in memory or in a file, with AWS's limits enforced.

use std::ffi::OsString;
use std::io;

use crate::launch::{Site, with_path, write_template};

const CONFIG: &str = include_str!("../../../deploy/local/elasticmq.conf");

/// Added to the config where messages are kept. Without `WRITE_DELAY=0` H2 writes half a second late, and a kill would
/// lose what was confirmed; with it nothing is lost, delayed and received messages included (measured over kills under
/// load).
const KEEP_MESSAGES: &str = r#"
messages-storage {
  enabled = true
  driver-class = "org.h2.Driver"
  uri = "jdbc:h2:{data};DB_CLOSE_ON_EXIT=FALSE;WRITE_DELAY=0"
  username = ""
  password = ""
  prune-data-on-init = false
}
"#;

/// Writes the config; returns flags, main class and arguments.
pub(crate) fn arguments(site: &Site) -> io::Result<Vec<OsString>> {
    let config = site.file("conf");
    let mut template = CONFIG.to_owned();
    let mut values = vec![("sqs_port", site.port.number().to_string())];
    if site.keep_messages {
        template.push_str(KEEP_MESSAGES);
        values.push(("data", site.file("data").display().to_string()));
    }
    write_template(&config, &template, &values)?;
    Ok(vec![
        "-Xmx1g".into(),
        with_path("-Dconfig.file=", &config),
        "org.elasticmq.server.Main".into(),
    ])
}
