//! DynamoDB Local, on files, so that tables survive a kill. It listens on all interfaces; it cannot be told otherwise.

use std::ffi::OsString;
use std::fs;
use std::io;

use crate::launch::{Site, with_path};

/// Makes the data directory; returns flags, main class and arguments.
pub(crate) fn arguments(site: &Site) -> io::Result<Vec<OsString>> {
    let data = site.file("data");
    fs::create_dir_all(&data)?;
    let lib = site.jars.lib();
    let mut arguments = vec![
        "-Xmx1g".into(),
        with_path("-Djava.library.path=", &lib),
        with_path("-Dsqlite4java.library.path=", &lib),
    ];
    let main = "software.amazon.dynamodb.services.local.main.ServerRunner";
    let port = site.port.number().to_string();
    // One database for every region and access key: the tables of one test process are the tables of all.
    arguments.extend(
        [
            main,
            "-port",
            &port,
            "-sharedDb",
            "-disableTelemetry",
            "-dbPath",
        ]
        .map(OsString::from),
    );
    arguments.push(data.into());
    Ok(arguments)
}
