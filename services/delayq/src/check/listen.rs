//! Whether the address of health and metrics is free.

use std::io;

use delayq_runtime::config::Config;
use tokio::net::TcpListener;

use super::Finding;

/// A taken one may be a delayq that runs already: a warning.
pub(super) async fn check(config: &Config) -> Finding {
    let listen = &config.http.listen;
    match TcpListener::bind(listen).await {
        Ok(_) => Finding::ok(format!("http.listen {listen} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::warning(
            format!("http.listen {listen} is in use, by a running delayq or another process"),
            "set http.listen to a free address before starting one here",
        ),
        Err(error) => Finding::warning(
            format!("http.listen {listen} cannot be listened on: {error}"),
            "set http.listen to an address of this machine and a port above 1023",
        ),
    }
}
