//! A program of an example, run as a user would and watched line by line.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A JVM's start, a group's first join and a delay, on two busy cores.
const LINE_WITHIN: Duration = Duration::from_secs(120);
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Where and with what an example's programs run.
pub struct Setting {
    /// Work directory.
    pub dir: PathBuf,
    /// Variables.
    pub env: Vec<(String, String)>,
}

impl Setting {
    fn command(&self, line: &[&str], errors: &Path) -> Command {
        let (program, arguments) = line.split_first().expect("a program");
        // A path counts from the example's folder.
        let program = if program.contains('/') {
            self.dir.join(program)
        } else {
            PathBuf::from(program)
        };
        // A test that runs in the background of a script ignores Ctrl-C, and so would what it starts.
        let mut command = Command::new("env");
        command
            .arg("--default-signal=INT")
            .arg(program)
            .args(arguments)
            .current_dir(&self.dir)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(errors).expect("a file"))
            .kill_on_drop(true);
        command
    }

    /// Runs a program to its end.
    ///
    /// # Panics
    /// It fails, or is not done in time.
    pub async fn run(&self, line: &[&str]) -> String {
        let errors = self.dir.join("run.stderr");
        let output = tokio::time::timeout(LINE_WITHIN, self.command(line, &errors).output())
            .await
            .unwrap_or_else(|_| panic!("{line:?} does not end:\n{}", text(&errors)))
            .unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert!(
            output.status.success(),
            "{line:?}: {}\n{}",
            output.status,
            text(&errors)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a program that runs until Ctrl-C.
    pub fn start(&self, line: &[&str]) -> Running {
        let errors = self.dir.join("start.stderr");
        // A group of its own, as a shell gives it: Ctrl-C reaches a script and what it runs.
        let mut child = self
            .command(line, &errors)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let stdout = child.stdout.take().expect("stdout");
        Running {
            group: child.id().expect("a running process"),
            child,
            lines: BufReader::new(stdout).lines(),
            errors,
        }
    }
}

/// A program that runs.
pub struct Running {
    child: Child,
    group: u32,
    lines: Lines<BufReader<ChildStdout>>,
    errors: PathBuf,
}

impl Running {
    /// Its next line.
    ///
    /// # Panics
    /// None comes.
    pub async fn line(&mut self) -> String {
        match tokio::time::timeout(LINE_WITHIN, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            Ok(ended) => panic!("it ended ({ended:?}):\n{}", text(&self.errors)),
            Err(_) => panic!(
                "no line within {} s:\n{}",
                LINE_WITHIN.as_secs(),
                text(&self.errors)
            ),
        }
    }

    /// Ctrl-C.
    ///
    /// # Panics
    /// It does not end.
    pub async fn interrupt(mut self) -> ExitStatus {
        signal_group("INT", self.group).await;
        tokio::time::timeout(STOP_WITHIN, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("it goes on after Ctrl-C:\n{}", text(&self.errors)))
            .expect("a status")
    }
}

impl Drop for Running {
    /// `kill_on_drop` reaches the leader only; a script's children would live on.
    fn drop(&mut self) {
        let killed = std::process::Command::new("kill")
            .args(["-KILL", "--", &format!("-{}", self.group)])
            .stderr(Stdio::null())
            .status();
        if let Err(error) = killed {
            eprintln!("kill: {error}");
        }
    }
}

async fn signal_group(name: &str, group: u32) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), "--", &format!("-{group}")])
        .status()
        .await
        .expect("kill");
    assert!(status.success(), "kill -{name}: {status}");
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| error.to_string())
}
