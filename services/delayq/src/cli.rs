//! The command line.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use axum::Router;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use delayq_runtime::config::{Config, ConfigErrors, LogConfig, Sources, load, load_with_origins};
use delayq_runtime::telemetry;

use crate::bench::{self, Scenario};
use crate::check::{self, CheckArgs, Level};
use crate::dead_letters::{self, DeadLettersCommand, Ended};
use crate::demo;
use crate::embedded::{EmbeddedKafka, EmbeddedTiers, clock_routes};
use crate::exit;
use crate::init::{InitArgs, init_with};
use crate::operator::Output;
use crate::plan::{self, PlanArgs};
use crate::probe::probe;
use crate::role::Role;
use crate::run::run_over;
use crate::send::{Outcome, SendArgs, send};
use crate::top::{TopArgs, top};
use crate::tracked::{self, IdArgs, RescheduleArgs, UpcomingArgs};
use crate::validate::{Point, ValidateArgs, validate};

/// Delayed messages for Apache Kafka.
#[derive(Debug, Parser)]
#[command(name = "delayq", version, about, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one role, the console, or all of them in one process, until SIGTERM or Ctrl-C.
    Run {
        /// Role.
        role: RoleArg,
        /// Of `all`: leave the console out.
        #[arg(long)]
        without_console: bool,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Create the topics, queues and tables that are missing. Running it again changes nothing.
    Init {
        /// What to create.
        #[command(flatten)]
        args: InitArgs,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Look whether all is there and as it should be, and say of each fault what to do. Exit code 1 if there is a problem.
    Check {
        /// What to look at.
        #[command(flatten)]
        args: CheckArgs,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Write one record to a delay topic, after looking at it as the router will. Exit code 2 if it would be refused.
    Send {
        /// The record.
        #[command(flatten)]
        args: Box<SendArgs>,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// What has become of tracked records. Exit code 4 if an id is unknown.
    Status {
        /// Which.
        #[command(flatten)]
        args: IdArgs,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Cancel tracked records. Exit code 3 if one is published, being published or dead, 4 if an id is unknown.
    Cancel {
        /// Which.
        #[command(flatten)]
        args: IdArgs,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Give a tracked record that waits another due time. Exit code 3 if it does not wait any more, 4 if the id is unknown.
    Reschedule {
        /// Which, and when it is due.
        #[command(flatten)]
        args: RescheduleArgs,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// What comes due: all records that wait, by time, output topic and priority.
    Upcoming {
        /// How far ahead.
        #[command(flatten)]
        args: UpcomingArgs,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Whether the process at http.listen is ready, for the health check of a container. Exit code 1 if it is not.
    Health {
        /// Whether it lives, in place of ready: what platforms that restart for it should ask.
        #[arg(long)]
        live: bool,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print completions for a shell: `delayq completions bash > /etc/bash_completion.d/delayq`.
    Completions {
        /// Shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page: `delayq man | man -l -`.
    Man,
    /// What could not be delivered: list it, show it, send it again, give it up.
    DeadLetters {
        /// What to do.
        #[command(subcommand)]
        command: DeadLettersCommand,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print the effective configuration as TOML, each value with where it came from, secrets hidden.
    Config {
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// See it work: an embedded Kafka broker, sample records, everything counted. Exit code 1 if one is lost or early.
    Demo(demo::DemoArgs),
    /// Run all roles over an embedded Kafka broker and tiers in memory, with a clock that POST /test/clock advances: for
    /// tests of what happens days later. Nothing survives the process.
    Embedded {
        /// Where Kafka clients find the broker.
        #[arg(long, default_value = "127.0.0.1:9092", value_name = "ADDRESS")]
        kafka: String,
        /// Create the output topics of these targets at the start; those of others are made by the first record.
        #[arg(long, value_delimiter = ',', value_name = "TARGET,…")]
        targets: Vec<String>,
        /// Configuration; addresses of Kafka and AWS are not used, and every target is allowed unless it says otherwise.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// How a deployment is, in the terminal: live, by its console.
    Top(TopArgs),
    /// Does a running deployment do what is promised? Records in, records out, point by point. Exit code 1 if a point fails.
    Validate {
        /// What to look at.
        #[command(flatten)]
        args: ValidateArgs,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// What a workload takes of AWS, what is the first limit, and what it costs a month.
    Plan {
        /// The workload.
        #[command(flatten)]
        args: PlanArgs,
        /// Configuration.
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Measure.
    Bench {
        /// Scenario.
        #[command(subcommand)]
        scenario: Scenario,
    },
}

/// Roles by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    /// Delay topics to tiers.
    Router,
    /// Long tier to queues.
    Scheduler,
    /// Queues to output topics.
    Emitter,
    /// The API and the page.
    Console,
    /// All of them.
    All,
}

impl RoleArg {
    fn roles(self) -> Vec<Role> {
        match self {
            Self::Router => vec![Role::Router],
            Self::Scheduler => vec![Role::Scheduler],
            Self::Emitter => vec![Role::Emitter],
            Self::Console => vec![],
            Self::All => Role::ALL.into(),
        }
    }
}

/// Where the configuration comes from: defaults, then the file, then `DELAYQ_SECTION__FIELD` variables, then `--set`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// TOML file. Default: ./delayq.toml if there is one.
    #[arg(long, short, global = true, env = "DELAYQ_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A single setting, such as `--set kafka.bootstrap_servers=broker:9092`. May be repeated.
    #[arg(long = "set", global = true, value_name = "SECTION.FIELD=VALUE")]
    pub overrides: Vec<String>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, ConfigErrors> {
        load(&self.sources())
    }

    fn sources(&self) -> Sources {
        Sources::from_process(self.config.clone(), self.overrides.clone())
    }

    /// As [`ConfigArgs::load`], without canaries; without `topics.allow` every target is allowed.
    fn load_embedded(&self) -> Result<Config, ConfigErrors> {
        let sources = || {
            let mut sources = self.sources();
            // Nobody is woken by a test's delayq; `--set canary.enabled=true` comes after and wins.
            sources.set.insert(0, "canary.enabled=false".to_owned());
            sources
        };
        let unset = |errors: &ConfigErrors| {
            let mut faults = errors.faults().iter();
            faults.any(|fault| fault.concerns("topics.allow"))
        };
        match load(&sources()) {
            Err(errors) if unset(&errors) => {
                let mut sources = sources();
                sources.set.push("topics.allow=*".to_owned());
                load(&sources)
            }
            loaded => loaded,
        }
    }
}

/// The binary: runs a command on threads of its own, says what stopped it, and answers with the exit code.
#[must_use]
pub fn run_to_end(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("delayq: cannot start its threads: {error}");
            return ExitCode::from(exit::FAILED);
        }
    };
    let ended = runtime.block_on(execute(cli));
    // A blocking call that outlived its limit must not hold up the exit.
    runtime.shutdown_background();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("delayq: {error:#}");
            ExitCode::from(if error.is::<ConfigErrors>() {
                exit::CONFIG
            } else {
                exit::FAILED
            })
        }
    }
}

/// Runs a command; answers with the exit code.
///
/// # Errors
/// What stopped it; [`ConfigErrors`] among them deserve [`exit::CONFIG`].
pub async fn execute(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::Run {
            role,
            without_console,
            config,
        } => {
            let console = matches!(role, RoleArg::Console | RoleArg::All) && !without_console;
            run_over(role.roles(), console, config.load()?, None, Router::new()).await
        }
        Command::Init { config, args } => {
            let config = config.load()?;
            telemetry::init_logs(&for_command(&config))?;
            init_with(&config, &args, &mut |line| print_line(&line)).await?;
            Ok(0)
        }
        Command::Check { config, args } => {
            let config = config.load()?;
            telemetry::init_logs(&for_command(&config))?;
            let findings = check::check(&config, &args).await;
            for finding in &findings {
                print_line(&finding.to_string());
            }
            let problems = findings.iter().any(|one| one.level == Level::Problem);
            Ok(if problems { exit::FAILED } else { 0 })
        }
        Command::Send { config, args } => {
            let config = config.load()?;
            telemetry::init_logs(&for_command(&config))?;
            Ok(match send(&config, &args).await? {
                Outcome::Sent(line) => {
                    print_line(&line);
                    0
                }
                Outcome::Refused(why) => {
                    eprintln!(
                        "delayq: not sent, it would be refused: {why}; --force sends it all the same"
                    );
                    exit::CONFIG
                }
            })
        }
        Command::Status { config, args } => tracked(&config, args.json, Ask::Status(args)).await,
        Command::Cancel { config, args } => tracked(&config, args.json, Ask::Cancel(args)).await,
        Command::Reschedule { config, args } => {
            tracked(&config, args.json, Ask::Reschedule(args)).await
        }
        Command::Upcoming { config, args } => {
            tracked(&config, args.json, Ask::Upcoming(args)).await
        }
        Command::Health { live, config } => {
            probe(&config.load()?, live).await?;
            Ok(0)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "delayq", &mut script);
            print_line(String::from_utf8_lossy(&script).trim_end());
            Ok(0)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command()).render(&mut page)?;
            print_line(String::from_utf8_lossy(&page).trim_end());
            Ok(0)
        }
        Command::DeadLetters { command, config } => {
            let config = config.load()?;
            telemetry::init_logs(&for_command(&config))?;
            dead_letters(&config, &command).await
        }
        Command::Config { config } => {
            let (config, origins) = load_with_origins(&config.sources())?;
            print_line(origins.annotate(&config)?.trim_end());
            Ok(0)
        }
        Command::Demo(args) => {
            // Refusals are part of the show: each would be a warning.
            telemetry::init_logs(&quiet("error"))?;
            Ok(if demo::run(&args).await? {
                0
            } else {
                exit::FAILED
            })
        }
        Command::Embedded {
            kafka,
            targets,
            config,
        } => {
            let mut config = config.load_embedded()?;
            let kafka = EmbeddedKafka::start(&kafka).await?;
            config.kafka.bootstrap_servers = kafka.address().to_string();
            kafka.create_topics(&config, &targets)?;
            let tiers = EmbeddedTiers::default();
            let routes = clock_routes(tiers.clone());
            run_over(
                Role::ALL.into(),
                false,
                config,
                Some(tiers.backends()),
                routes,
            )
            .await
        }
        Command::Top(args) => {
            let mut out = |text: &str| writeln!(std::io::stdout().lock(), "{text}");
            let terminal = std::io::stdout().is_terminal();
            unless_seen(top(&args, terminal, &mut out).await.map(|()| 0))
        }
        Command::Validate { args, config } => {
            telemetry::init_logs(&quiet("off"))?;
            let config = args.console.is_some().then(|| config.load()).transpose()?;
            let mut tell = |point: &Point| {
                let word = if point.passed { "PASS" } else { "FAIL" };
                print_line(&format!("{word}  {}: {}", point.name, point.detail));
            };
            let mut silent = |_: &Point| {};
            let tell: &mut (dyn FnMut(&Point) + Send) =
                if args.json { &mut silent } else { &mut tell };
            let report = validate(config, &args, tell).await?;
            if args.json {
                print_line(&serde_json::to_string(&report)?);
            } else {
                print_line(&format!(
                    "{} passed, {} failed",
                    report.passed, report.failed
                ));
            }
            Ok(if report.failed == 0 { 0 } else { exit::FAILED })
        }
        Command::Plan { args, config } => {
            print_line(&plan::plan(&args, &config.load_embedded()?)?);
            Ok(0)
        }
        Command::Bench { scenario } => bench(scenario).await,
    }
}

async fn bench(scenario: Scenario) -> anyhow::Result<u8> {
    if let Scenario::Roles { config } = scenario {
        let tiers = EmbeddedTiers::default().backends();
        let config = config.load_embedded()?;
        return run_over(Role::ALL.into(), false, config, Some(tiers), Router::new()).await;
    }
    telemetry::init_logs(&quiet("warn"))?;
    let kept = bench::run(scenario).await?;
    Ok(if kept { 0 } else { exit::FAILED })
}

async fn dead_letters(config: &Config, command: &DeadLettersCommand) -> anyhow::Result<u8> {
    let mut output = Output {
        json: command.is_json(),
        out: &mut |line| writeln!(std::io::stdout().lock(), "{line}"),
        note: &mut |line| writeln!(std::io::stderr().lock(), "delayq: {line}"),
    };
    let ended = dead_letters::run(config, command, &mut output).await;
    unless_seen(ended.map(|ended| match ended {
        Ended::Done => 0,
        Ended::Left => exit::FAILED,
        Ended::Refused => exit::CONFIG,
    }))
}

/// What is asked of tracked records.
enum Ask {
    Status(IdArgs),
    Cancel(IdArgs),
    Reschedule(RescheduleArgs),
    Upcoming(UpcomingArgs),
}

async fn tracked(config: &ConfigArgs, json: bool, ask: Ask) -> anyhow::Result<u8> {
    let config = config.load()?;
    telemetry::init_logs(&for_command(&config))?;
    let mut output = Output {
        json,
        out: &mut |line| writeln!(std::io::stdout().lock(), "{line}"),
        note: &mut |line| writeln!(std::io::stderr().lock(), "delayq: {line}"),
    };
    let ended = match ask {
        Ask::Status(args) => tracked::status(&config, &args, &mut output).await,
        Ask::Cancel(args) => tracked::cancel(&config, &args, &mut output).await,
        Ask::Reschedule(args) => tracked::reschedule(&config, &args, &mut output).await,
        Ask::Upcoming(args) => tracked::upcoming(&config, &args, &mut output).await,
    };
    unless_seen(ended.map(|ended| match ended {
        tracked::Ended::Done => 0,
        tracked::Ended::TooLate => exit::TOO_LATE,
        tracked::Ended::Unknown => exit::UNKNOWN,
    }))
}

/// Whoever reads a list may have seen enough of it.
fn unless_seen(ended: anyhow::Result<u8>) -> anyhow::Result<u8> {
    match ended {
        Err(error)
            if error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) =>
        {
            Ok(0)
        }
        ended => ended,
    }
}

/// A command says itself what fails; the log repeats it only for who asks for more than the default.
fn for_command(config: &Config) -> LogConfig {
    if config.log.level == LogConfig::default().level {
        quiet("off")
    } else {
        config.log.clone()
    }
}

fn quiet(level: &str) -> LogConfig {
    LogConfig {
        level: level.to_owned(),
        ..LogConfig::default()
    }
}

#[allow(clippy::print_stdout, reason = "the result of the command")]
fn print_line(line: &str) {
    println!("{line}");
}
