//! Live changes for people who signed in.

use std::time::Duration;

use delayq_core::clock::{Clock as _, SystemClock};
use futures::StreamExt as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::bench::{claims, router, settings};
use crate::issuer::Issuer;
use crate::keys::Signer;

#[tokio::test]
async fn a_socket_takes_the_token_and_ends_when_it_expires() {
    let key = Signer::p256("e");
    let issuer = Issuer::new(&[&key]).await;
    let routes = router(settings(&issuer.url), std::sync::Arc::new(SystemClock));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "ws://{}/v1/live",
        listener.local_addr().expect("an address")
    );
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let connect = async |exp: i64| {
        let mut said = claims(&issuer);
        said["exp"] = json!(exp);
        let mut request = url.as_str().into_client_request().expect("a request");
        let protocols = format!("delayq, token.{}", key.token(&said));
        let protocols = protocols.parse().expect("a value");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocols);
        connect_async(request).await
    };
    let now_s = SystemClock.now_ms() / 1000;
    match connect(now_s - 61).await {
        Err(Error::Http(refused)) => assert_eq!(refused.status(), 401),
        other => panic!("{other:?}"),
    }
    // Within the minute of leeway: two seconds are left of it.
    let (mut socket, _) = connect(now_s - 58).await.expect("a socket");
    let within = Duration::from_secs(30);
    let hello = tokio::time::timeout(within, socket.next())
        .await
        .expect("in time");
    let hello = hello.expect("open").expect("a frame");
    assert!(hello.to_text().expect("text").contains("hello"), "{hello}");
    loop {
        let told = tokio::time::timeout(within, socket.next())
            .await
            .expect("in time");
        match told.expect("a reason").expect("a frame") {
            Message::Close(Some(frame)) => {
                assert_eq!(u16::from(frame.code), 4001);
                assert!(frame.reason.contains("sign in again"), "{frame:?}");
                break;
            }
            other => assert!(!other.is_close(), "{other:?}"),
        }
    }
}
