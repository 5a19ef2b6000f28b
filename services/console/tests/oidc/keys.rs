//! Keys made in the test, and tokens signed by them.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rsa::pkcs8::EncodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};

/// A private key with the name under which its public half is known.
pub(crate) enum Signer {
    /// RS256; all of this process are the same one, which takes long to find.
    Rsa(&'static str),
    /// ES256.
    P256(&'static str, Box<EcdsaKeyPair>),
}

struct Rsa {
    pair: RsaKeyPair,
    n: Vec<u8>,
    e: Vec<u8>,
}

fn rsa() -> &'static Rsa {
    static RSA: OnceLock<Rsa> = OnceLock::new();
    RSA.get_or_init(|| {
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).expect("a key");
        let der = key.to_pkcs8_der().expect("PKCS #8");
        Rsa {
            pair: RsaKeyPair::from_pkcs8(der.as_bytes()).expect("the same key"),
            n: key.n().to_bytes_be(),
            e: key.e().to_bytes_be(),
        }
    })
}

impl Signer {
    pub(crate) fn p256(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let der = der.expect("a key");
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random);
        Self::P256(kid, Box::new(pair.expect("the same key")))
    }

    pub(crate) const fn kid(&self) -> &'static str {
        match self {
            Self::Rsa(kid) | Self::P256(kid, _) => kid,
        }
    }

    const fn alg(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(..) => "ES256",
        }
    }

    /// As an issuer publishes it.
    pub(crate) fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(kid) => {
                let rsa = rsa();
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": text(&rsa.n), "e": text(&rsa.e)})
            }
            Self::P256(kid, pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": text(x), "y": text(y)})
            }
        }
    }

    /// As a load balancer publishes it.
    pub(crate) fn pem(&self) -> String {
        let Self::P256(_, pair) = self else {
            panic!("load balancers have none");
        };
        let mut der = vec![
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
            0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        ];
        der.extend_from_slice(pair.public_key().as_ref());
        let text = STANDARD.encode(der);
        let (first, second) = text.split_at(64);
        format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
    }

    fn sign(&self, text: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(_) => {
                let pair = &rsa().pair;
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature);
                signed.expect("signed");
                signature
            }
            Self::P256(_, pair) => {
                let signed = pair.sign(&random, text.as_bytes());
                signed.expect("signed").as_ref().to_vec()
            }
        }
    }

    /// A token as an issuer writes it.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.alg(), "kid": self.kid(), "typ": "JWT"});
        self.signed(&header, claims, |bytes| URL_SAFE_NO_PAD.encode(bytes))
    }

    /// A token as a load balancer writes it: padded.
    pub(crate) fn padded(&self, header: &Value, claims: &Value) -> String {
        self.signed(header, claims, |bytes| URL_SAFE.encode(bytes))
    }

    /// A token with any header.
    pub(crate) fn signed(
        &self,
        header: &Value,
        claims: &Value,
        encode: impl Fn(&[u8]) -> String,
    ) -> String {
        let [header, claims] = [header, claims].map(|part| encode(part.to_string().as_bytes()));
        let text = format!("{header}.{claims}");
        let signature = encode(&self.sign(&text));
        format!("{text}.{signature}")
    }
}

/// A token that somebody without the key can write.
pub(crate) fn unsigned(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature))
}
