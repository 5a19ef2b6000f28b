//! `cargo run -p delayq-stack`: the stack of the tests, on fixed ports, until Ctrl-C.
#![allow(
    clippy::print_stdout,
    reason = "a program for people and scripts: its endpoints are its output"
)]

use std::process::ExitCode;

use clap::Parser;
use delayq_stack::{Component, Ports, Stack, StackError, StackOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Starts Kafka, ElasticMQ (SQS) and DynamoDB Local on loopback; stops them on Ctrl-C.
#[derive(Parser)]
#[command(name = "delayq-stack")]
struct Arguments {
    /// Kafka's port
    #[arg(long, default_value_t = 9092)]
    kafka_port: u16,
    /// Port of ElasticMQ
    #[arg(long, default_value_t = 9324)]
    sqs_port: u16,
    /// Port of DynamoDB Local
    #[arg(long, default_value_t = 8000)]
    dynamodb_port: u16,
    /// Use any free ports instead
    #[arg(long, conflicts_with_all = ["kafka_port", "sqs_port", "dynamodb_port"])]
    free_ports: bool,
}

impl Arguments {
    fn ports(&self) -> Ports {
        if self.free_ports {
            return Ports::Free;
        }
        Ports::Fixed {
            kafka: self.kafka_port,
            sqs: self.sqs_port,
            dynamodb: self.dynamodb_port,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if matches!(error, StackError::PortInUse { .. }) {
                eprintln!("hint: --kafka-port, --sqs-port, --dynamodb-port, or --free-ports");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), StackError> {
    let io = |source| StackError::Io {
        what: "listen for signals".to_owned(),
        source,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io)?;
    let options = StackOptions {
        ports: arguments.ports(),
        ..StackOptions::default()
    };
    let stack = tokio::select! {
        stack = Stack::start(options) => stack?,
        () = either(&mut interrupt, &mut terminate) => return Ok(()),
    };
    report(&stack).await?;
    tokio::select! {
        () = either(&mut interrupt, &mut terminate) => Ok(()),
        ended = stack.ended() => Err(ended?),
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn report(stack: &Stack) -> Result<(), StackError> {
    for component in Component::ALL {
        let pid = stack.pid(component).await?.unwrap_or_default();
        println!(
            "# {component}: pid {pid}, log {}",
            stack.logs(component)?.display()
        );
    }
    let endpoints = stack.endpoints();
    println!("export DELAYQ_STACK_KAFKA={}", endpoints.kafka);
    println!("export DELAYQ_STACK_SQS={}", endpoints.sqs);
    println!("export DELAYQ_STACK_DYNAMODB={}", endpoints.dynamodb);
    println!("# ready; Ctrl-C stops everything");
    Ok(())
}
