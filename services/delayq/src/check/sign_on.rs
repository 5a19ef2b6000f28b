//! Whether the console's issuer answers, and calls itself what it is called here.

use std::sync::Arc;

use delayq_core::clock::SystemClock;
use delayq_runtime::config::Config;

use super::Finding;
use crate::console::sign_on;

/// `None` without single sign-on.
pub(super) async fn check(config: &Config) -> Option<Finding> {
    let issuer = &config.console.oidc.as_ref()?.issuer;
    let oidc = match sign_on(config, Arc::new(SystemClock)) {
        Ok(oidc) => oidc?,
        Err(error) => {
            let text = error.to_string();
            let (what, remedy) = text
                .split_once(": build with ")
                .map_or((text.as_str(), String::new()), |(what, remedy)| {
                    (what, format!("build with {remedy}"))
                });
            return Some(Finding::problem(format!("console.oidc: {what}"), remedy));
        }
    };
    Some(match oidc.reach().await {
        Ok(()) => Finding::ok(format!("console.oidc.issuer {issuer} answers")),
        Err(why) => Finding::problem(
            format!("nobody can sign in to the console: {why}"),
            "set console.oidc.issuer to the issuer's address, and let the console reach it; tokens of the configuration work meanwhile",
        ),
    })
}
