//! Logging in with tokens (SASL/OAUTHBEARER), as MSK wants them for IAM: who makes the tokens is not this crate's concern.
//!
//! librdkafka asks for a token when a client is made and after four fifths of a token's life, and tells so to whoever polls the
//! client. Some clients are asked something before their first poll, or are never polled: so each gets its first token when it is made.
#![allow(
    unsafe_code,
    reason = "the safe wrapper sets a token only from the poll of a client"
)]

use std::error::Error;
use std::ffi::CString;
use std::fmt;

use delayq_core::error::{ErrorClass, PortError};
use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext, OAuthToken};
use tokio::sync::watch;

/// The principal that librdkafka writes into its own log; brokers read the one in the token.
const PRINCIPAL: &str = "delayq";
const ERROR_BYTES: usize = 512;

/// A token, and until when brokers take it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// As it is sent.
    pub value: String,
    /// End of its life, in ms since 1970.
    pub expires_ms: i64,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("value", &"(hidden)")
            .field("expires_ms", &self.expires_ms)
            .finish()
    }
}

/// Where clients find the latest token. Clones share it; two are equal when they do.
#[derive(Debug, Clone)]
pub struct Tokens(watch::Receiver<Token>);

impl Tokens {
    /// Tokens that begin with `first`; the sender takes later ones, and learns by `closed` that no client is left.
    #[must_use]
    pub fn starting_with(first: Token) -> (watch::Sender<Token>, Self) {
        let (sender, receiver) = watch::channel(first);
        (sender, Self(receiver))
    }

    fn latest(&self) -> Token {
        self.0.borrow().clone()
    }
}

impl PartialEq for Tokens {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

impl Eq for Tokens {}

/// The answer of a client's context to librdkafka's question for a token.
pub(crate) fn answer(tokens: Option<&Tokens>) -> Result<OAuthToken, Box<dyn Error>> {
    let tokens = tokens.ok_or("delayq has tokens only with kafka.auth = \"aws-iam\"")?;
    let token = tokens.latest();
    Ok(OAuthToken {
        token: token.value,
        principal_name: PRINCIPAL.to_owned(),
        lifetime_ms: token.expires_ms,
    })
}

/// Gives a client the latest token, where it logs in with tokens.
pub(crate) fn log_in<C: ClientContext>(
    client: &Client<C>,
    tokens: Option<&Tokens>,
) -> Result<(), PortError> {
    let Some(tokens) = tokens else {
        return Ok(());
    };
    let failed = |detail: String| PortError::new(ErrorClass::Transient, "kafka login", detail);
    let token = tokens.latest();
    let value = CString::new(token.value).map_err(|error| failed(error.to_string()))?;
    let principal = CString::new(PRINCIPAL).map_err(|error| failed(error.to_string()))?;
    let mut reason = vec![0_u8; ERROR_BYTES];
    // SAFETY: the client is valid for the call, which copies both strings and writes at most `ERROR_BYTES` of text with its
    // end into `reason`; no extensions are given.
    let code = unsafe {
        rd::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.expires_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            reason.as_mut_ptr().cast(),
            reason.len(),
        )
    };
    if code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    reason.retain(|byte| *byte != 0);
    Err(failed(String::from_utf8_lossy(&reason).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(value: &str) -> Token {
        Token {
            value: value.to_owned(),
            expires_ms: 1,
        }
    }

    #[test]
    fn a_client_is_answered_with_the_latest_token() {
        let (sender, tokens) = Tokens::starting_with(token("first"));
        let asked = || answer(Some(&tokens)).map(|found| found.token);
        assert_eq!(asked().ok().as_deref(), Some("first"));
        sender.send_replace(token("second"));
        assert_eq!(asked().ok().as_deref(), Some("second"));
    }

    #[test]
    fn without_tokens_the_answer_says_how_to_have_them() {
        let refused = answer(None).map(|found| found.token);
        let said = refused.map_err(|error| error.to_string());
        assert!(said.is_err_and(|said| said.contains("kafka.auth")));
    }

    #[test]
    fn a_token_is_not_printed() {
        let (_, tokens) = Tokens::starting_with(token("very-secret"));
        assert!(!format!("{tokens:?}").contains("very-secret"));
    }
}
