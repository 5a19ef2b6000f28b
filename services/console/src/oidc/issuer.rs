//! The issuer: what it says of itself (OpenID Connect Discovery 1.0), and its keys.

use std::sync::Arc;

use delayq_core::clock::Clock;
use serde::Deserialize;

use super::fetch::{Fetcher, NoDocument, allowed};
use super::kept::Kept;
use super::token::{Key, KeySet, Token};

/// What an issuer says of itself, as far as it is needed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Discovery {
    issuer: String,
    jwks_uri: String,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) token_endpoint: Option<String>,
    pub(super) end_session_endpoint: Option<String>,
}

/// An issuer and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Issuer {
    /// Its name, which is its address.
    pub(super) name: String,
    fetcher: Fetcher,
    discovery: Kept<Discovery>,
    keys: Kept<KeySet>,
}

/// Why there is no key.
#[derive(Debug)]
pub(super) enum NoKey {
    /// The issuer has none of that name.
    Unknown,
    /// It does not answer: why.
    Away(String),
}

impl Issuer {
    pub(super) fn new(name: String, fetcher: Fetcher, clock: &Arc<dyn Clock>) -> Self {
        Self {
            name,
            fetcher,
            discovery: Kept::new("the issuer's discovery document", clock.clone()),
            keys: Kept::new("the issuer's keys", clock.clone()),
        }
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer, or says what cannot be: why.
    pub(super) async fn discovery(&self) -> Result<Arc<Discovery>, Arc<str>> {
        let (fetcher, name) = (self.fetcher.clone(), self.name.clone());
        let fetch = move || async move { discover(&fetcher, &name).await };
        self.discovery.get(false, fetch).await
    }

    /// What it has said of itself, if it ever has.
    pub(super) fn discovered(&self) -> Option<Arc<Discovery>> {
        self.discovery.known()
    }

    /// The keys that may have signed a token; asks for new ones where there are none.
    pub(super) async fn keys_of(&self, token: &Token<'_>) -> Result<Vec<Key>, NoKey> {
        for newer in [false, true] {
            let issuer = self.clone();
            let fetch = move || async move { issuer.fetch_keys().await };
            let set = self.keys.get(newer, fetch).await;
            let set = set.map_err(|why| NoKey::Away(why.to_string()))?;
            let found: Vec<Key> = set.of(token).into_iter().cloned().collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(NoKey::Unknown)
    }

    async fn fetch_keys(&self) -> Result<KeySet, String> {
        let discovery = self.discovery().await.map_err(|why| why.to_string())?;
        let text = self.fetcher.get(&discovery.jwks_uri).await;
        let text = text.map_err(NoDocument::into_text)?;
        KeySet::read(&text).map_err(|why| format!("{}: {why}", discovery.jwks_uri))
    }
}

async fn discover(fetcher: &Fetcher, name: &str) -> Result<Discovery, String> {
    let address = name.trim_end_matches('/');
    let url = format!("{address}/.well-known/openid-configuration");
    let text = fetcher.get(&url).await.map_err(NoDocument::into_text)?;
    let found: Discovery = serde_json::from_slice(&text)
        .map_err(|error| format!("{url}: not a discovery document: {error}"))?;
    if found.issuer != name {
        return Err(format!(
            "{url}: there the issuer calls itself \"{}\": set console.oidc.issuer to exactly that, if it is the right one",
            found.issuer
        ));
    }
    let addresses = [
        Some(&found.jwks_uri),
        found.authorization_endpoint.as_ref(),
        found.token_endpoint.as_ref(),
        found.end_session_endpoint.as_ref(),
    ];
    for address in addresses.into_iter().flatten() {
        allowed(address).map_err(|why| format!("{url}: {why}"))?;
    }
    Ok(found)
}
