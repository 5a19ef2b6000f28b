//! A stack whose broker has a listener for each way to log in, beside the open one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use delayq_stack::{Component, Endpoints, Port, Stack, StackOptions, broker_classpath};
use tempfile::TempDir;

use crate::certificates::Authority;

/// The user that SCRAM knows.
pub const USER: &str = "delayq";
/// Its password.
pub const PASSWORD: &str = "open, sesame";
/// The user that IAM knows.
pub const ACCESS_KEY: &str = "AKIDEXAMPLE";
/// Its secret.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// The region of the cluster.
pub const REGION: &str = "eu-central-1";
/// How long a connection by IAM lasts before it has to log in again.
pub const REAUTHENTICATE_MS: u32 = 3_000;

/// A running stack.
pub struct Guarded {
    stack: Stack,
    scram: Port,
    mtls: Port,
    iam: Port,
    authority: Authority,
    /// A client's key and certificate.
    client: PathBuf,
    dir: TempDir,
}

impl Guarded {
    /// Starts it. Needs `javac`.
    ///
    /// # Errors
    /// A component does not start, or the broker's plugin does not compile.
    pub async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let authority = Authority::new(dir.path(), "authority")?;
        let server = authority.sign("broker")?;
        let client = authority.sign("client")?;
        let classes = dir.path().join("classes");
        compile(&classes).await?;
        let (scram, mtls, iam) = (Port::free()?, Port::free()?, Port::free()?);
        let options = StackOptions {
            kafka_properties: properties(&scram, &mtls, &iam, &authority, &server),
            kafka_classes: vec![classes.clone()],
            jvm_flags: [(
                Component::Kafka,
                vec![
                    format!("-Diam.access_key={ACCESS_KEY}"),
                    format!("-Diam.secret_key={SECRET_KEY}"),
                    format!("-Diam.region={REGION}"),
                ],
            )]
            .into(),
            ..StackOptions::default()
        };
        let stack = Stack::start(options).await?;
        add_user(&classes, &stack.endpoints().kafka).await?;
        Ok(Self {
            stack,
            scram,
            mtls,
            iam,
            authority,
            client,
            dir,
        })
    }

    /// The open listener, for whoever only looks, and the tiers.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        self.stack.endpoints()
    }

    /// What reaches the broker by TLS and logs in by SCRAM.
    #[must_use]
    pub fn scram(&self, password: &str) -> Vec<String> {
        vec![
            at(&self.scram),
            property("security.protocol", "sasl_ssl"),
            property("sasl.mechanisms", "SCRAM-SHA-512"),
            property("sasl.username", USER),
            property("sasl.password", password),
            self.trust(&self.authority),
        ]
    }

    /// What reaches the broker by TLS and shows a certificate.
    #[must_use]
    pub fn mtls(&self) -> Vec<String> {
        let mut settings = self.mtls_without_certificate();
        let file = self.client.display().to_string();
        settings.push(property("ssl.certificate.location", &file));
        settings.push(property("ssl.key.location", &file));
        settings
    }

    /// The same, with nothing to show.
    #[must_use]
    pub fn mtls_without_certificate(&self) -> Vec<String> {
        vec![
            at(&self.mtls),
            property("security.protocol", "ssl"),
            self.trust(&self.authority),
        ]
    }

    /// What logs in as MSK wants it for IAM.
    #[must_use]
    pub fn iam(&self, secret_key: &str) -> Vec<String> {
        vec![
            at(&self.iam),
            "kafka.auth=aws-iam".to_owned(),
            format!("aws.region={REGION}"),
            format!("aws.access_key_id={ACCESS_KEY}"),
            format!("aws.secret_access_key={secret_key}"),
            self.trust(&self.authority),
        ]
    }

    /// Trust in an authority that has not signed the broker's certificate.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn wrong_trust(&self) -> anyhow::Result<String> {
        Ok(self.trust(&Authority::new(self.dir.path(), "stranger")?))
    }

    fn trust(&self, authority: &Authority) -> String {
        property(
            "ssl.ca.location",
            &authority.certificate().display().to_string(),
        )
    }
}

fn at(port: &Port) -> String {
    format!("kafka.bootstrap_servers=localhost:{}", port.number())
}

fn property(name: &str, value: &str) -> String {
    format!("kafka.properties.{name}={value}")
}

fn properties(
    scram: &Port,
    mtls: &Port,
    iam: &Port,
    authority: &Authority,
    server: &Path,
) -> Vec<(String, String)> {
    let listener =
        |host: &str, name: &str, port: &Port| format!(",{name}://{host}:{}", port.number());
    let guarded = |host: &str| {
        [("SCRAM", scram), ("MTLS", mtls), ("IAM", iam)]
            .map(|(name, port)| listener(host, name, port))
            .concat()
    };
    let open = "PLAINTEXT://127.0.0.1:{kafka_port}";
    let login = "org.apache.kafka.common.security";
    [
        (
            "listeners",
            format!(
                "{open},CONTROLLER://127.0.0.1:{{controller_port}}{}",
                guarded("127.0.0.1")
            ),
        ),
        (
            "advertised.listeners",
            format!("{open}{}", guarded("localhost")),
        ),
        (
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL,MTLS:SSL,IAM:SASL_SSL"
                .to_owned(),
        ),
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.keystore.location", server.display().to_string()),
        ("ssl.truststore.type", "PEM".to_owned()),
        (
            "ssl.truststore.location",
            authority.certificate().display().to_string(),
        ),
        ("listener.name.mtls.ssl.client.auth", "required".to_owned()),
        (
            "listener.name.scram.sasl.enabled.mechanisms",
            "SCRAM-SHA-512".to_owned(),
        ),
        (
            "listener.name.scram.scram-sha-512.sasl.jaas.config",
            format!("{login}.scram.ScramLoginModule required;"),
        ),
        (
            "listener.name.iam.sasl.enabled.mechanisms",
            "OAUTHBEARER".to_owned(),
        ),
        (
            "listener.name.iam.oauthbearer.sasl.jaas.config",
            format!("{login}.oauthbearer.OAuthBearerLoginModule required;"),
        ),
        (
            "listener.name.iam.oauthbearer.sasl.server.callback.handler.class",
            "MskIamValidator".to_owned(),
        ),
        (
            "listener.name.iam.oauthbearer.connections.max.reauth.ms",
            REAUTHENTICATE_MS.to_string(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

async fn compile(classes: &Path) -> anyhow::Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("java");
    let mut javac = Command::new("javac");
    javac.arg("-d").arg(classes);
    javac.arg("-cp").arg(broker_classpath().await?);
    for source in ["MskIamValidator.java", "AddScramUser.java"] {
        javac.arg(sources.join(source));
    }
    run(javac).await.context("javac")
}

async fn add_user(classes: &Path, bootstrap_servers: &str) -> anyhow::Result<()> {
    let jars = broker_classpath().await?;
    let classpath = std::env::join_paths(
        std::env::split_paths(&jars).chain(std::iter::once(classes.to_owned())),
    )?;
    let mut java = Command::new("java");
    java.arg("-cp").arg(classpath);
    java.args(["AddScramUser", bootstrap_servers, USER, PASSWORD]);
    run(java).await.context("AddScramUser")
}

async fn run(mut command: Command) -> anyhow::Result<()> {
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
