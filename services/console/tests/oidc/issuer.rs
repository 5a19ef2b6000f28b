//! An issuer on this machine, which can be made to fail; and, beside it, the keys of a load balancer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::keys::Signer;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As it should.
    Well,
    /// Not at all well: 500.
    Away,
    /// Connections are taken, and nothing comes.
    Silent,
    /// With more than anybody wants to read.
    Endless,
}

pub(crate) struct Inside {
    pub(crate) mood: Mood,
    /// What it calls itself.
    pub(crate) name: String,
    pub(crate) keys: Vec<Value>,
    pub(crate) alb_keys: HashMap<String, String>,
    /// Requests, by what was asked.
    pub(crate) asked: HashMap<&'static str, usize>,
}

#[derive(Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    inside: Arc<Mutex<Inside>>,
}

type Answer = (StatusCode, String);

impl Issuer {
    /// One with these keys.
    pub(crate) async fn new(keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let inside = Inside {
            mood: Mood::Well,
            name: url.clone(),
            keys: keys.iter().map(|key| key.jwk()).collect(),
            alb_keys: HashMap::new(),
            asked: HashMap::new(),
        };
        let issuer = Self {
            url,
            inside: Arc::new(Mutex::new(inside)),
        };
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys_of))
            .route("/alb/{kid}", get(alb_key))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        issuer
    }

    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("unpoisoned")
    }

    pub(crate) fn mood(&self, mood: Mood) {
        self.inside().mood = mood;
    }

    pub(crate) fn publish(&self, keys: &[&Signer]) {
        self.inside().keys = keys.iter().map(|key| key.jwk()).collect();
    }

    pub(crate) fn asked(&self, what: &str) -> usize {
        self.inside().asked.get(what).copied().unwrap_or_default()
    }

    async fn answer(&self, what: &'static str, text: String) -> Answer {
        let mood = {
            let mut inside = self.inside();
            *inside.asked.entry(what).or_default() += 1;
            inside.mood
        };
        match mood {
            Mood::Well => (StatusCode::OK, text),
            Mood::Away => (StatusCode::INTERNAL_SERVER_ERROR, "oh".to_owned()),
            Mood::Silent => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                (StatusCode::OK, text)
            }
            Mood::Endless => (StatusCode::OK, format!("{text}{}", " ".repeat(300 * 1024))),
        }
    }
}

async fn discovery(State(issuer): State<Issuer>) -> Answer {
    let url = issuer.url.clone();
    let name = issuer.inside().name.clone();
    let text = json!({
        "issuer": name,
        "jwks_uri": format!("{url}/keys"),
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "end_session_endpoint": format!("{url}/logout"),
    });
    issuer.answer("discovery", text.to_string()).await
}

async fn keys_of(State(issuer): State<Issuer>) -> Answer {
    let text = json!({"keys": issuer.inside().keys}).to_string();
    issuer.answer("keys", text).await
}

async fn alb_key(State(issuer): State<Issuer>, Path(kid): Path<String>) -> Answer {
    let pem = issuer.inside().alb_keys.get(&kid).cloned();
    let (status, text) = issuer.answer("alb", pem.clone().unwrap_or_default()).await;
    match pem {
        None if status == StatusCode::OK => (StatusCode::FORBIDDEN, "no such key".to_owned()),
        _ => (status, text),
    }
}
