//! What the commands for operators share: they print lines for people or JSON objects, one a line, on standard output, remarks
//! beside them; and they do not keep anybody waiting for AWS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use delayq_aws::Clients;
use delayq_core::clock::SystemClock;
use delayq_runtime::config::Config;
use serde_json::Value;

use crate::settings;

/// How long SQS or DynamoDB may take; the configured times are for long polls and bad days.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes a line.
pub type Line<'a> = &'a mut (dyn FnMut(&str) -> io::Result<()> + Send);

/// Where lines go.
pub struct Output<'a> {
    /// JSON objects in place of lines for people.
    pub json: bool,
    /// Results.
    pub out: Line<'a>,
    /// Remarks, for people.
    pub note: Line<'a>,
}

impl Output<'_> {
    /// A result in either form.
    pub(crate) fn result(&mut self, line: &str, json: &Value) -> io::Result<()> {
        if self.json {
            (self.out)(&json.to_string())
        } else {
            (self.out)(line)
        }
    }

    /// A result that people get as a remark: the summary, which must not be taken for a letter.
    pub(crate) fn summary(&mut self, line: &str, json: &Value) -> io::Result<()> {
        if self.json {
            (self.out)(&json.to_string())
        } else {
            (self.note)(line)
        }
    }
}

/// Clients of SQS and DynamoDB that do not keep an operator waiting.
pub(crate) async fn clients(config: &Config) -> anyhow::Result<Clients> {
    let mut settings = settings::aws(config);
    settings.connect_timeout = settings.connect_timeout.min(CONNECT_TIMEOUT);
    settings.attempt_timeout = settings.attempt_timeout.min(CALL_TIMEOUT);
    settings.operation_timeout = settings.attempt_timeout + settings.connect_timeout;
    Ok(delayq_aws::connect(&settings, Arc::new(SystemClock)).await?)
}
