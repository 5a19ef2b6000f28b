//! The jars, fetched once: `<target>/stack/jars/<profile>-<hash of what it is made from>`, ready when its stamp is there.

use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::time::Instant;

use crate::archive;
use crate::error::StackError;
use crate::kafka;
use crate::options::Component;
use crate::paths::{on_path, stack_dir};

const POM: &str = include_str!("../../../deploy/local/pom.xml");
const STAMP: &str = "STAMP";
/// Counts up when what is made beside the jars changes: class-data archive, formatted Kafka directory.
const LAYOUT: u32 = 1;

/// A classpath of its own; a profile of the pom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JarSet {
    Component(Component),
    KafkaTools,
}

impl JarSet {
    fn profile(self) -> &'static str {
        match self {
            Self::Component(component) => component.name(),
            Self::KafkaTools => "kafka-tools",
        }
    }
}

/// A resolved set.
#[derive(Clone, Debug)]
pub(crate) struct Jars {
    dir: PathBuf,
}

impl Jars {
    /// Where the jars and native libraries are.
    pub(crate) fn lib(&self) -> PathBuf {
        self.dir.join("lib")
    }

    /// Beside the jars: what [`archive`] prepares.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every jar by name, sorted: a class-data archive is good only for the very same classpath string.
    pub(crate) fn classpath(&self) -> io::Result<OsString> {
        self.classpath_with(&[])
    }

    /// The same, and these directories after it.
    pub(crate) fn classpath_with(&self, classes: &[PathBuf]) -> io::Result<OsString> {
        let mut jars = Vec::new();
        for entry in fs::read_dir(self.lib())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "jar") {
                jars.push(path);
            }
        }
        jars.sort_unstable();
        // An archive fits a classpath that goes on after its own.
        std::env::join_paths(jars.iter().chain(classes)).map_err(io::Error::other)
    }
}

/// Returns the set, fetching it if this is the first use of this pom. Other processes wait for the one that fetches.
pub(crate) async fn resolve(set: JarSet) -> Result<Jars, StackError> {
    let root = stack_dir().join("jars");
    let jars = Jars {
        dir: root.join(format!("{}-{:016x}", set.profile(), inputs_hash())),
    };
    if jars.dir.join(STAMP).exists() {
        return Ok(jars);
    }
    fs::create_dir_all(&root).map_err(StackError::io(|| format!("create {}", root.display())))?;
    let _set_lock = lock(root.join(format!("{}.lock", set.profile()))).await?;
    if jars.dir.join(STAMP).exists() {
        return Ok(jars);
    }
    let began = Instant::now();
    tracing::info!(set = set.profile(), "fetching jars from Maven Central");
    if jars.dir.exists() {
        // A previous run died between the rename and the stamp.
        fs::remove_dir_all(&jars.dir)
            .map_err(StackError::io(|| format!("remove {}", jars.dir.display())))?;
    }
    let fresh = tempfile::Builder::new()
        .prefix("resolving-")
        .tempdir_in(&root)
        .map_err(StackError::io(|| {
            format!("create a directory in {}", root.display())
        }))?;
    {
        // Maven 3 does not guard its own repository against a second Maven.
        let _maven_lock = lock(root.join("maven.lock")).await?;
        maven(set, fresh.path()).await?;
    }
    fs::rename(fresh.path(), &jars.dir).map_err(StackError::io(|| {
        format!("rename to {}", jars.dir.display())
    }))?;
    tracing::info!(
        set = set.profile(),
        seconds = began.elapsed().as_secs_f32(),
        "jars are there"
    );
    if let JarSet::Component(component) = set {
        archive::prepare(component, &jars).await?;
    }
    File::create(jars.dir.join(STAMP)).map_err(StackError::io(|| "write the stamp of the jars"))?;
    tracing::info!(
        set = set.profile(),
        seconds = began.elapsed().as_secs_f32(),
        "ready for use"
    );
    Ok(jars)
}

fn inputs_hash() -> u64 {
    let mut hasher = DefaultHasher::new();
    // The broker's settings say what the formatted directory holds.
    (POM, kafka::PROPERTIES, LAYOUT).hash(&mut hasher);
    hasher.finish()
}

/// Held until the file is dropped; the kernel releases it if we die.
async fn lock(path: PathBuf) -> Result<File, StackError> {
    let what = format!("lock {}", path.display());
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::create(path)?;
        file.lock()?;
        Ok(file)
    });
    locked
        .await
        .map_err(io::Error::other)
        .and_then(|file| file)
        .map_err(StackError::io(|| what))
}

async fn maven(set: JarSet, dir: &Path) -> Result<(), StackError> {
    if !on_path("mvn") {
        return Err(StackError::MissingProgram {
            program: "mvn",
            package: "maven",
        });
    }
    // The pom this was compiled with, which is the one that was hashed.
    let pom = dir.join("pom.xml");
    fs::write(&pom, POM).map_err(StackError::io(|| format!("write {}", pom.display())))?;
    let mut output_directory = OsString::from("-DoutputDirectory=");
    output_directory.push(dir.join("lib"));
    let output = Command::new("mvn")
        .args(["-q", "-B", "-P", set.profile(), "-f"])
        .arg(&pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(output_directory)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(StackError::io(|| "run mvn"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("ERROR"))
        .take(10)
        .collect();
    Err(StackError::Resolve {
        component: set.profile(),
        output: lines.join("\n"),
    })
}
