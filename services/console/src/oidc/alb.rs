//! People whom an Application Load Balancer has signed in: it tells who it is in a header that it signs.
//!
//! By AWS's documentation ("Authenticate users using an Application Load Balancer", user claims encoding and signature
//! verification): `x-amzn-oidc-data` is a JSON Web Token signed by ES256, base64url *with* padding. Its header names the load balancer
//! (`signer`), the client and the issuer, and the end of its validity. Its claims are those of the issuer's userinfo endpoint. The
//! public key is at an address of the region, below the key's name, in PEM.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use delayq_core::clock::{Clock, EpochMs};

use super::claims::{Claims, check_issuer, not_expired, seconds};
use super::fetch::{Fetcher, NoDocument};
use super::issuer::NoKey;
use super::kept::Kept;
use super::token::{Algorithm, Header, Key, Token};

/// The header.
pub(super) const DATA: &str = "x-amzn-oidc-data";
/// Longest name of a key, in bytes: they are UUIDs.
const KID_MAX_BYTES: usize = 64;
/// Keys that are remembered, the missing ones included.
const KEYS_MAX: usize = 16;
/// New names that are looked for in one [`WINDOW_MS`].
const NEW_MAX: u32 = 10;
const WINDOW_MS: u64 = 60_000;

/// A key, or that there is none of that name.
type Found = Kept<Option<Key>>;

#[derive(Debug, Default)]
struct Names {
    keys: HashMap<String, Found>,
    window_ms: EpochMs,
    new: u32,
}

/// The load balancer.
pub(super) struct Alb {
    arn: String,
    client: String,
    issuer: String,
    keys_url: String,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    names: Mutex<Names>,
}

/// Why somebody is not taken for signed in.
#[derive(Debug)]
pub(super) enum NotSigned {
    /// The header is not this load balancer's, or too old: why.
    Refused(String),
    /// The key cannot be fetched: why.
    Away(String),
}

fn refused<T>(why: impl Into<String>) -> Result<T, NotSigned> {
    Err(NotSigned::Refused(why.into()))
}

impl Alb {
    pub(super) fn new(
        (arn, keys_url): (String, String),
        (client, issuer): (String, String),
        fetcher: Fetcher,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            arn,
            client,
            issuer,
            keys_url: keys_url.trim_end_matches('/').to_owned(),
            fetcher,
            clock,
            names: Mutex::default(),
        }
    }

    /// The claims of somebody whom this load balancer has signed in.
    pub(super) async fn claims(&self, data: &str) -> Result<Claims, NotSigned> {
        let token = Token::read(data).map_err(NotSigned::Refused)?;
        // What it says of itself costs nothing to look at; the key may cost a fetch.
        self.check(&token.header, token.algorithm)?;
        let kid = match &token.header.kid {
            Some(kid) if is_name(kid) => kid,
            _ => return refused("it names no key"),
        };
        let key = self.key(kid).await.map_err(|none| match none {
            NoKey::Unknown => NotSigned::Refused("its key is not known".to_owned()),
            NoKey::Away(why) => NotSigned::Away(why),
        })?;
        let claims = token.verified([&key]).map_err(NotSigned::Refused)?;
        if claims.contains_key("iss") {
            check_issuer(&claims, &self.issuer).map_err(NotSigned::Refused)?;
        }
        if let Some(expires) = claims.get("exp") {
            self.check_end(Some(expires))?;
        }
        Ok(claims)
    }

    fn check(&self, header: &Header, algorithm: Algorithm) -> Result<(), NotSigned> {
        if algorithm != Algorithm::Es256 {
            return refused("it is not signed by ES256");
        }
        if header.signer.as_ref() != Some(&self.arn) {
            return refused(format!("it is not signed by {}", self.arn));
        }
        if header.client.as_ref() != Some(&self.client) {
            return refused(format!("it is not for the client {}", self.client));
        }
        if header.iss.as_ref() != Some(&self.issuer) {
            return refused(format!("it is not by the issuer {}", self.issuer));
        }
        self.check_end(header.exp.as_ref())
    }

    fn check_end(&self, expires: Option<&serde_json::Value>) -> Result<(), NotSigned> {
        let Some(expires_s) = expires.and_then(seconds) else {
            return refused("it does not say until when it is valid (exp)");
        };
        let end = not_expired(expires_s, self.clock.now_ms());
        end.map(|_| ()).map_err(NotSigned::Refused)
    }

    async fn key(&self, kid: &str) -> Result<Key, NoKey> {
        let found = self.found(kid).ok_or_else(|| {
            NoKey::Away("too many names of keys have been looked for: wait a minute".to_owned())
        })?;
        for newer in [false, true] {
            let (fetcher, url) = (self.fetcher.clone(), format!("{}/{kid}", self.keys_url));
            let fetch = move || async move { fetch_key(&fetcher, &url).await };
            let key = found.get(newer, fetch).await;
            let key = key.map_err(|why| NoKey::Away(why.to_string()))?;
            if let Some(key) = &*key {
                return Ok(key.clone());
            }
        }
        Err(NoKey::Unknown)
    }

    /// What is known of a name; `None`: too many new ones of late.
    fn found(&self, kid: &str) -> Option<Found> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = names.keys.get(kid) {
            return Some(found.clone());
        }
        let now_ms = self.clock.now_ms();
        if now_ms.abs_diff(names.window_ms) >= WINDOW_MS {
            names.window_ms = now_ms;
            names.new = 0;
        }
        if names.new >= NEW_MAX {
            return None;
        }
        names.new += 1;
        if names.keys.len() >= KEYS_MAX {
            // Those that led to a key stay as long as there are others.
            let led = |found: &Found| found.known().is_some_and(|key| key.is_some());
            let other = names.keys.iter().find(|(_, found)| !led(found));
            let gone = other.or_else(|| names.keys.iter().next());
            if let Some(gone) = gone.map(|(kid, _)| kid.clone()) {
                names.keys.remove(&gone);
            }
        }
        let found = Found::new("a key of the load balancer", self.clock.clone());
        names.keys.insert(kid.to_owned(), found.clone());
        Some(found)
    }
}

async fn fetch_key(fetcher: &Fetcher, url: &str) -> Result<Option<Key>, String> {
    match fetcher.get(url).await {
        Ok(text) => {
            let key = std::str::from_utf8(&text).ok().and_then(Key::from_pem);
            key.map(Some)
                .ok_or_else(|| format!("{url}: not a public key of P-256 in PEM"))
        }
        Err(NoDocument::Missing(_)) => Ok(None),
        Err(NoDocument::Away(why)) => Err(why),
    }
}

/// Whether it may become a part of an address.
fn is_name(kid: &str) -> bool {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    (1..=KID_MAX_BYTES).contains(&kid.len()) && kid.chars().all(plain)
}
