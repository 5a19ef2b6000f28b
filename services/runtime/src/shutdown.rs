//! Stopping by signal: the first SIGINT or SIGTERM drains, the second ends the process at once.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Exit code after the second signal (128 + SIGINT, as shells have it).
pub const EXIT_AT_ONCE: i32 = 130;

/// The signals that stop a process, taken over from their default (to kill it).
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over. Call it early: until then they kill without a drain.
    ///
    /// # Errors
    /// The system refuses a handler.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn take() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Cancels `stop` at the first signal and exits with [`EXIT_AT_ONCE`] at the second, without a drain. Spawn it beside the
    /// supervisor; it never ends by itself. A stop that began otherwise (a task failed) counts as the first signal.
    pub async fn obey(self, stop: CancellationToken) {
        obey(self, stop).await;
        // Not a return: whatever still drains must not delay it, and what is unfinished is delivered again.
        std::process::exit(EXIT_AT_ONCE);
    }
}

/// Where signals come from: the system, or a test.
trait NextSignal {
    /// The name of the next signal.
    fn next(&mut self) -> impl Future<Output = &'static str> + Send;
}

impl NextSignal for Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            Some(()) = self.interrupt.recv() => "SIGINT",
            Some(()) = self.terminate.recv() => "SIGTERM",
            else => std::future::pending().await,
        }
    }
}

/// Returns when the process must end at once.
async fn obey(mut signals: impl NextSignal, stop: CancellationToken) {
    if let Some(signal) = stop.run_until_cancelled(signals.next()).await {
        info!(signal, "draining; press Ctrl-C again to stop at once");
        stop.cancel();
    }
    let signal = signals.next().await;
    warn!(
        signal,
        "stopping at once; what was not finished will be delivered again"
    );
}

#[cfg(test)]
mod tests {
    use std::process::{ExitStatus, Stdio};
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::process::{Child, Command};
    use tokio::sync::mpsc;

    use super::*;

    const CHILD: &str = "DELAYQ_STACK_SIGNALS_CHILD";

    impl NextSignal for mpsc::Receiver<&'static str> {
        async fn next(&mut self) -> &'static str {
            self.recv().await.unwrap()
        }
    }

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_ends() {
        let (signals, received) = mpsc::channel(2);
        let stop = CancellationToken::new();
        let obeyed = tokio::spawn(obey(received, stop.clone()));
        signals.send("SIGTERM").await.unwrap();
        stop.cancelled().await;
        assert!(!obeyed.is_finished());
        signals.send("SIGTERM").await.unwrap();
        obeyed.await.unwrap();
    }

    #[tokio::test]
    async fn one_signal_is_enough_while_it_drains_already() {
        let (signals, received) = mpsc::channel(1);
        let stop = CancellationToken::new();
        stop.cancel();
        signals.send("SIGINT").await.unwrap();
        obey(received, stop).await;
    }

    /// Not a test of its own: the process that the tests below send signals to.
    #[tokio::test]
    async fn child() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let stop = CancellationToken::new();
        tokio::spawn(Signals::take().unwrap().obey(stop.clone()));
        eprintln!("taken");
        stop.cancelled().await;
        eprintln!("stopping");
        std::future::pending::<()>().await;
    }

    /// Starts the child, sends one signal each time it has said one of the lines, and gives its end.
    async fn signalled(pairs: [(&str, &str); 2]) -> ExitStatus {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shutdown::tests::child", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for (line, signal) in pairs {
            while lines.next_line().await.unwrap().unwrap() != line {}
            send(&child, signal).await;
        }
        child.wait().await.unwrap()
    }

    async fn send(child: &Child, signal: &str) {
        let id = child.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await;
        assert!(sent.unwrap().success());
    }

    #[tokio::test]
    async fn a_real_process_exits_with_130_at_the_second_signal() {
        let limit = Duration::from_secs(30);
        for pairs in [
            [("taken", "-INT"), ("stopping", "-INT")],
            [("taken", "-TERM"), ("stopping", "-INT")],
        ] {
            let end = tokio::time::timeout(limit, signalled(pairs)).await.unwrap();
            assert_eq!(end.code(), Some(EXIT_AT_ONCE));
        }
    }
}
