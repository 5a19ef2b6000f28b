//! The Kafka cluster of a configuration, with what logging in to it takes.

use std::time::Duration;

use delayq_aws::{IamSigner, IamToken};
use delayq_core::clock::{Clock as _, SystemClock};
use delayq_core::error::PortError;
use delayq_kafka::{KafkaSettings, Token, Tokens};
use delayq_runtime::config::{Config, KafkaAuth};
use tokio::sync::watch;

use crate::settings;

/// Wait before another try to sign a token, and at least between two.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The cluster. With `kafka.auth = "aws-iam"` a first token is signed, and a task signs later ones for as long as a client is
/// there.
///
/// # Errors
/// `Misconfigured` for settings of AWS with faults, `Transient` when there are no credentials.
pub(crate) async fn kafka(config: &Config) -> Result<KafkaSettings, PortError> {
    let mut kafka = settings::kafka(config);
    if config.kafka.auth == KafkaAuth::AwsIam {
        let signer = IamSigner::new(&settings::aws(config)).await?;
        let first = signer.token(SystemClock.now_ms()).await?;
        let (sender, tokens) = Tokens::starting_with(taken(first));
        tokio::spawn(renew(signer, sender));
        kafka.tokens = Some(tokens);
    }
    Ok(kafka)
}

fn taken(token: IamToken) -> Token {
    Token {
        value: token.value,
        expires_ms: token.expires_ms,
    }
}

/// Signs a token at half of the life of the one before: librdkafka asks for it after four fifths.
async fn renew(signer: IamSigner, sender: watch::Sender<Token>) {
    let half = |expires_ms: i64| {
        let left_ms = u64::try_from(expires_ms - SystemClock.now_ms()).unwrap_or(0);
        Duration::from_millis(left_ms / 2).max(TRY_AGAIN)
    };
    loop {
        let wait = half(sender.borrow().expires_ms);
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(wait) => {}
        }
        match signer.token(SystemClock.now_ms()).await {
            Ok(token) => {
                sender.send_replace(taken(token));
            }
            // Brokers take the old one until it ends; then the clients' own errors tell, and count as Kafka away.
            Err(error) => tracing::warn!(
                %error,
                until_ms = sender.borrow().expires_ms,
                "no new token for kafka; the last one is kept"
            ),
        }
    }
}
