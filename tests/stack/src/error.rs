//! What can go wrong with the stack, each with what to do about it.

use std::io;
use std::path::PathBuf;

use crate::options::Component;

/// Why a stack, or one of its components, is not there.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A program is not on the `PATH`.
    #[error("`{program}` is not on the PATH; on Debian: apt-get install {package}")]
    MissingProgram {
        /// The program's name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// Maven could not fetch the jars.
    #[error(
        "maven could not resolve the jars of {component} (Maven Central must be reachable): {output}"
    )]
    Resolve {
        /// The profile of `deploy/local/pom.xml`.
        component: &'static str,
        /// The end of Maven's output.
        output: String,
    },
    /// A fixed port is taken.
    #[error(
        "port {port} for {component} is in use: stop what listens there (`ss -ltnp 'sport = :{port}'` shows it), \
         or choose another port or free ports"
    )]
    PortInUse {
        /// Who needs the port.
        component: Component,
        /// The port.
        port: u16,
    },
    /// No free port was found.
    #[error("no free port found on 127.0.0.1 between {first} and {last}")]
    NoFreePort {
        /// First port tried.
        first: u16,
        /// Last port tried.
        last: u16,
    },
    /// A component ended, or did not answer in time.
    #[error("{component} {what}; log {}:\n{tail}", log.display())]
    NotReady {
        /// Which one.
        component: Component,
        /// What happened.
        what: String,
        /// Its whole log, kept.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Only some of the endpoint variables are set.
    #[error(
        "{set} set but not {missing}: set all three to use a running stack, or none to have one started"
    )]
    PartialEnv {
        /// The variables that are set.
        set: String,
        /// The ones that are not.
        missing: String,
    },
    /// The endpoints come from the environment: their processes are somebody else's.
    #[error(
        "{0} is not ours to control: the endpoints come from DELAYQ_STACK_KAFKA, _SQS and _DYNAMODB"
    )]
    External(Component),
    /// The component was not among the started ones.
    #[error("{0} is not part of this stack (StackOptions::components)")]
    NotChosen(Component),
    /// The component is not running.
    #[error("{0} is not running")]
    NotRunning(Component),
    /// The component runs already.
    #[error("{0} is running already")]
    AlreadyRunning(Component),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The refusal.
        source: io::Error,
    },
    /// A Kafka client could not be made for the ready check.
    #[error("kafka client for the ready check: {0}")]
    KafkaClient(#[from] rdkafka::error::KafkaError),
}

impl StackError {
    /// Wraps an I/O error with what was tried: `.map_err(StackError::io(|| format!(..)))`.
    pub(crate) fn io<D: std::fmt::Display>(
        what: impl FnOnce() -> D,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what: what().to_string(),
            source,
        }
    }
}
