//! `delayq check`: looks at everything delayq needs, changes nothing, and says of each fault what to do about it.
//!
//! Every backend is looked at, whichever of them is away. What is looked at is what can be seen without acting: that a
//! role may write to a table or join the consumer group shows only when it does.

use delayq_core::error::{ErrorClass, PortError};
use delayq_runtime::config::Config;

mod finding;
mod listen;
mod sign_on;
mod tiers;
mod topics;

pub use finding::{Finding, Level};

/// Arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CheckArgs {
    /// Look at the output topics of these targets as well.
    #[arg(long, value_delimiter = ',', value_name = "TARGET,…")]
    pub targets: Vec<String>,
}

/// Looks, for some seconds at most where somebody does not answer.
pub async fn check(config: &Config, args: &CheckArgs) -> Vec<Finding> {
    let (kafka, tiers, listen, sign_on) = tokio::join!(
        topics::check(config, &args.targets),
        tiers::check(config),
        listen::check(config),
        sign_on::check(config),
    );
    let tiers = kafka.into_iter().chain(tiers);
    tiers.chain([listen]).chain(sign_on).collect()
}

/// What failed, and what to do. An adapter's text ends with the remedy, after a semicolon, where one is known.
fn told(error: &PortError, otherwise: &str) -> (String, String) {
    let knows = error.class == ErrorClass::Misconfigured || error.detail.contains("; check ");
    match error.detail.rsplit_once("; ").filter(|_| knows) {
        Some((what, remedy)) => (format!("{}: {what}", error.operation), remedy.to_owned()),
        None => (error.to_string(), otherwise.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapters_remedy_is_told_apart() {
        let error = |class, detail| PortError::new(class, "sqs GetQueueUrl", detail);
        let denied = error(ErrorClass::Misconfigured, "denied; allow sqs:GetQueueUrl");
        let expected = (
            "sqs GetQueueUrl: denied".to_owned(),
            "allow sqs:GetQueueUrl".to_owned(),
        );
        assert_eq!(told(&denied, "look"), expected);
        let away = error(ErrorClass::Transient, "no answer; or so");
        assert_eq!(told(&away, "look").1, "look");
        let away = error(ErrorClass::Transient, "no answer; check the network");
        assert_eq!(told(&away, "look").1, "check the network");
    }
}
