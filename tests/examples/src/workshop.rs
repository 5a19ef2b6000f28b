//! A copy of an example in the target directory, with what it needs installed: once for each content of the example.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::repo;

/// Comma separated: examples and tools whose tests pass without running.
const SKIP_ENV: &str = "DELAYQ_SKIP_EXAMPLES";
/// Holds the hash of what was installed.
const STAMP: &str = "INSTALLED";
/// A cold download over a slow line.
const INSTALL_WITHIN: Duration = Duration::from_secs(600);

/// A program that an example needs.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Its name on the `PATH`.
    pub program: &'static str,
    /// How to get it.
    pub remedy: &'static str,
}

/// What must be there to run an example.
pub const JAVA: &[Tool] = &[
    Tool {
        program: "javac",
        remedy: "install openjdk-17-jdk-headless",
    },
    Tool {
        program: "mvn",
        remedy: "install maven",
    },
];
/// Python 3.9 or later.
pub const PYTHON: &[Tool] = &[Tool {
    program: "python3",
    remedy: "install python3-venv",
}];
/// Node 18 or later.
pub const NODE: &[Tool] = &[
    Tool {
        program: "node",
        remedy: "install nodejs (18 or later)",
    },
    Tool {
        program: "npm",
        remedy: "install npm",
    },
];
/// Go 1.24 or later.
pub const GO: &[Tool] = &[Tool {
    program: "go",
    remedy: "install golang (1.24 or later)",
}];
/// The console tools come with the stack.
pub const CONSOLE: &[Tool] = &[Tool {
    program: "java",
    remedy: "install default-jre-headless",
}];
/// kcat.
pub const KCAT: &[Tool] = &[Tool {
    program: "kcat",
    remedy: "install kcat",
}];

/// An example ready to run. Nobody else changes it as long as this lives.
pub struct Workshop {
    /// Where it was copied to.
    pub dir: PathBuf,
    _lock: File,
}

/// A command of the installation, run in the copy.
pub type Step = &'static [&'static str];

/// A Python example's requirements, in an environment of its own.
pub const PIP: &[Step] = &[
    &["python3", "-m", "venv", ".venv"],
    &[
        ".venv/bin/pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        "requirements.txt",
    ],
];

impl Workshop {
    /// Copies `examples/<example>` and runs the steps, unless that was done for the same content before. `None`, said aloud,
    /// if `DELAYQ_SKIP_EXAMPLES` lists the example or one of its tools.
    ///
    /// # Panics
    /// A tool is missing, or a step fails.
    pub async fn open(name: &str, example: &str, tools: &[Tool], steps: &[Step]) -> Option<Self> {
        let skipped = std::env::var(SKIP_ENV).unwrap_or_default();
        let listed = |name: &str| skipped.split(',').any(|entry| entry.trim() == name);
        if listed(name) || tools.iter().any(|tool| listed(tool.program)) {
            eprintln!("skipped: {SKIP_ENV} lists {name} or one of its tools");
            return None;
        }
        for Tool { program, remedy } in tools {
            assert!(
                on_path(program),
                "the example {name} needs {program}: {remedy}, or set {SKIP_ENV}={program} to leave it out"
            );
        }
        let parent = repo::target().join("examples");
        let dir = parent.join(name);
        fs::create_dir_all(&parent).expect("the target directory can be written");
        let lock = locked(parent.join(format!("{name}.lock"))).await;
        let source = repo::root().join("examples").join(example);
        let wanted = hash(&source, steps);
        let stamp = dir.join(STAMP);
        if fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
            if dir.exists() {
                fs::remove_dir_all(&dir).expect("the old copy goes");
            }
            copy(&source, &dir);
            // Maven does not guard its repository against a second one; the stack's downloads hold the same lock.
            let jars = repo::target().join("stack/jars");
            fs::create_dir_all(&jars).expect("the target directory can be written");
            let _maven = locked(jars.join("maven.lock")).await;
            for step in steps {
                install(&dir, step).await;
            }
            fs::write(&stamp, wanted).expect("the stamp");
        }
        Some(Self { dir, _lock: lock })
    }
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// Waits for whoever holds it; the kernel releases it when the file is dropped.
async fn locked(path: PathBuf) -> File {
    let lock = move || {
        let file = File::create(path)?;
        file.lock()?;
        Ok::<_, std::io::Error>(file)
    };
    let file = tokio::task::spawn_blocking(lock).await;
    file.expect("no panic").expect("a lock")
}

/// What the repository has of an example; not what somebody installed there by hand.
fn files(source: &Path) -> Vec<PathBuf> {
    const INSTALLED: [&str; 5] = ["node_modules", "target", ".venv", "__pycache__", "bin"];
    repo::files(source, &|path| {
        !path
            .file_name()
            .is_some_and(|name| INSTALLED.iter().any(|installed| name == *installed))
    })
}

fn hash(source: &Path, steps: &[Step]) -> String {
    let mut hasher = DefaultHasher::new();
    steps.hash(&mut hasher);
    for file in files(source) {
        file.hash(&mut hasher);
        fs::read(&file).expect("a file").hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn copy(source: &Path, dir: &Path) {
    for file in files(source) {
        let to = dir.join(file.strip_prefix(source).expect("below the source"));
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(&file, &to).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

async fn install(dir: &Path, step: Step) {
    let (program, arguments) = step.split_first().expect("a program");
    // A path counts from the copy.
    let program = if program.contains('/') {
        dir.join(program)
    } else {
        PathBuf::from(program)
    };
    let output = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(INSTALL_WITHIN, output)
        .await
        .unwrap_or_else(|_| panic!("{step:?} is not done after {} s", INSTALL_WITHIN.as_secs()))
        .unwrap_or_else(|error| panic!("{step:?}: {error}"));
    assert!(
        output.status.success(),
        "{step:?} in {} failed:\n{}{}",
        dir.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
