//! A JSON Web Token taken apart, and its signature checked. Knows nothing of what the token says.
//!
//! The compact form of RFC 7515 with the algorithms RS256 and ES256 (RFC 7518) and no other. The signature is checked by `ring`;
//! what is done here is to find its parts. Both forms of base64url are read: a load balancer of AWS pads, nobody else does.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::signature;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest token, in bytes.
const TOKEN_MAX_BYTES: usize = 16 * 1024;
/// Keys that are read of one set, at most.
const KEYS_MAX: usize = 100;

/// With or without padding.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// The first part of a token: what it says of itself. Nothing of it is true before the signature is checked.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    alg: String,
    /// The key's name.
    pub(super) kid: Option<String>,
    /// Extensions that must be understood.
    crit: Option<Value>,
    /// Of a load balancer: its ARN.
    pub(super) signer: Option<String>,
    /// Of a load balancer: the client as which it signs people in.
    pub(super) client: Option<String>,
    /// Of a load balancer: the issuer.
    pub(super) iss: Option<String>,
    /// Of a load balancer: until when, in seconds since 1970.
    pub(super) exp: Option<Value>,
}

/// A token whose form is right.
pub(super) struct Token<'t> {
    pub(super) header: Header,
    pub(super) algorithm: Algorithm,
    payload: Vec<u8>,
    /// What is signed.
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is none, or signed in a way that is not accepted.
    pub(super) fn read(text: &'t str) -> Result<Self, String> {
        if text.len() > TOKEN_MAX_BYTES {
            return Err(format!("it has more than {TOKEN_MAX_BYTES} bytes"));
        }
        let no_token = || "it is not a JSON Web Token".to_owned();
        let (signed, signature) = text.rsplit_once('.').ok_or_else(no_token)?;
        let (header, payload) = signed.split_once('.').ok_or_else(no_token)?;
        let decode = |part: &str| BASE64URL.decode(part).map_err(|_| no_token());
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| no_token())?;
        let algorithm = match header.alg.as_str() {
            "RS256" => Algorithm::Rs256,
            "ES256" => Algorithm::Es256,
            _ => return Err("it is not signed by RS256 or ES256".to_owned()),
        };
        if header.crit.is_some() {
            return Err("it has extensions (crit) that are not known here".to_owned());
        }
        Ok(Self {
            algorithm,
            payload: decode(payload)?,
            signed,
            signature: decode(signature)?,
            header,
        })
    }

    /// What it says, if one of the keys has signed it.
    pub(super) fn verified<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k Key>,
    ) -> Result<Map<String, Value>, String> {
        let signed = |key: &Key| key.has_signed(self.algorithm, self.signed, &self.signature);
        if !keys.into_iter().any(signed) {
            return Err("its signature is not the issuer's".to_owned());
        }
        serde_json::from_slice(&self.payload).map_err(|_| "it holds no claims".to_owned())
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// Modulus and exponent, big-endian, without leading zeros.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// A point on P-256, uncompressed.
    P256(Vec<u8>),
}

impl Key {
    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::Rs256,
            Self::P256(_) => Algorithm::Es256,
        }
    }

    fn has_signed(&self, algorithm: Algorithm, signed: &str, by: &[u8]) -> bool {
        if algorithm != self.algorithm() {
            return false;
        }
        let verified = match self {
            Self::Rsa { n, e } => signature::RsaPublicKeyComponents { n, e }.verify(
                &signature::RSA_PKCS1_2048_8192_SHA256,
                signed.as_bytes(),
                by,
            ),
            Self::P256(point) => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(signed.as_bytes(), by)
            }
        };
        verified.is_ok()
    }

    /// A key of P-256 in PEM (`BEGIN PUBLIC KEY`, RFC 7468 and 5480), as load balancers publish them.
    pub(super) fn from_pem(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("-----BEGIN PUBLIC KEY-----")?;
        let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
        let body: String = body.split_whitespace().collect();
        let der = BASE64.decode(body).ok()?;
        let point = der.strip_prefix(&P256_PUBLIC_KEY)?;
        (point.len() == POINT_BYTES && point.first() == Some(&UNCOMPRESSED))
            .then(|| Self::P256(point.to_vec()))
    }
}

/// What every public key of P-256 begins with in DER: its algorithm, its curve, and a string of 66 bytes.
const P256_PUBLIC_KEY: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const UNCOMPRESSED: u8 = 4;
const COORDINATE_BYTES: usize = 32;
const POINT_BYTES: usize = 1 + 2 * COORDINATE_BYTES;

/// The keys of an issuer (RFC 7517), those that can be of use here.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<(Option<String>, Key)>);

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set. Keys of other kinds, and for other ends, are left out.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let set: JwkSet =
            serde_json::from_slice(text).map_err(|error| format!("not a set of keys: {error}"))?;
        let keys: Vec<_> = set
            .keys
            .into_iter()
            .take(KEYS_MAX)
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
            .filter_map(|jwk| Some((jwk.kid.clone(), jwk.key()?)))
            .collect();
        if keys.is_empty() {
            return Err("a set without a key for RS256 or ES256".to_owned());
        }
        Ok(Self(keys))
    }

    /// The keys that may have signed a token: those of the name it gives; where it gives none, the only one of its kind.
    pub(super) fn of(&self, token: &Token<'_>) -> Vec<&Key> {
        let kind = |key: &&(Option<String>, Key)| key.1.algorithm() == token.algorithm;
        let keys = self.0.iter().filter(kind);
        match &token.header.kid {
            Some(_) => keys
                .filter(|(kid, _)| *kid == token.header.kid)
                .map(|(_, key)| key)
                .collect(),
            None => {
                let all: Vec<&Key> = keys.map(|(_, key)| key).collect();
                if all.len() == 1 { all } else { Vec::new() }
            }
        }
    }
}

impl Jwk {
    fn key(&self) -> Option<Key> {
        if self
            .purpose
            .as_ref()
            .is_some_and(|purpose| purpose != "sig")
        {
            return None;
        }
        let decode = |part: &Option<String>| BASE64URL.decode(part.as_ref()?).ok();
        let key = match self.kty.as_str() {
            "RSA" => Key::Rsa {
                n: unsigned(decode(&self.n)?),
                e: unsigned(decode(&self.e)?),
            },
            "EC" if self.crv.as_deref() == Some("P-256") => {
                let (x, y) = (decode(&self.x)?, decode(&self.y)?);
                if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
                    return None;
                }
                Key::P256([&[UNCOMPRESSED], x.as_slice(), y.as_slice()].concat())
            }
            _ => return None,
        };
        let fits = |alg: &String| alg == key.algorithm().name();
        self.alg.as_ref().is_none_or(fits).then_some(key)
    }
}

/// Some issuers write a zero before the number.
fn unsigned(bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.into_iter().skip(zeros).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples of RFC 7515, appendix A.2 and A.3: the same payload, signed by RS256 and ES256.
    const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const ES256_SIGNATURE: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    const ES256_KEY: &str = r#"{"keys": [
        {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
    ]}"#;

    fn es256() -> String {
        format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{ES256_SIGNATURE}")
    }

    #[test]
    fn the_example_of_rfc_7515_verifies_and_no_other_text_does() {
        let keys = KeySet::read(ES256_KEY.as_bytes()).unwrap();
        let text = es256();
        let token = Token::read(&text).unwrap();
        let claims = token.verified(keys.of(&token)).unwrap();
        assert_eq!(claims["iss"], "joe");
        let changed = text.replacen("eyJpc3MiOiJqb2Ui", "eyJpc3MiOiJqb2Uj", 1);
        let token = Token::read(&changed).unwrap();
        assert!(
            token
                .verified(keys.of(&token))
                .unwrap_err()
                .contains("signature")
        );
        assert!(token.verified(&[] as &[Key]).is_err());
    }

    #[test]
    fn other_algorithms_and_forms_are_refused() {
        let with = |header: &str| {
            let header = BASE64URL.encode(header);
            let text = format!("{header}.{PAYLOAD}.{ES256_SIGNATURE}");
            Token::read(&text).map(|_| ()).unwrap_err()
        };
        for alg in ["none", "None", "HS256", "RS512", "PS256", "es256", ""] {
            let told = with(&format!("{{\"alg\": \"{alg}\"}}"));
            assert!(told.contains("RS256 or ES256"), "{alg}: {told}");
        }
        assert!(with(r#"{"alg": "ES256", "crit": ["b64"]}"#).contains("crit"));
        assert!(with("[]").contains("not a JSON Web Token"));
        for text in ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "ü.ü.ü"] {
            assert!(Token::read(text).is_err(), "{text}");
        }
        assert!(Token::read(&"a".repeat(TOKEN_MAX_BYTES + 1)).is_err());
    }

    #[test]
    fn a_key_signs_by_its_own_algorithm_only() {
        let keys = KeySet::read(ES256_KEY.as_bytes()).unwrap();
        let text = format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{ES256_SIGNATURE}");
        let token = Token::read(&text).unwrap();
        assert!(keys.of(&token).is_empty());
        let all: Vec<&Key> = keys.0.iter().map(|(_, key)| key).collect();
        assert!(token.verified(all).is_err());
    }

    #[test]
    fn keys_are_chosen_by_name_and_kind() {
        let point = r#""kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
        let set = format!(
            r#"{{"keys": [{{"kid": "a", {point}}}, {{"kid": "b", "use": "sig", "alg": "ES256", {point}}},
                {{"kid": "c", "use": "enc", {point}}}, {{"kid": "d", "alg": "ES384", {point}}}, {{"kid": "e", "kty": "oct", "k": "AA"}},
                {{"kid": "f", "kty": "RSA", "n": "AAEC", "e": "AQAB"}}, 5]}}"#
        );
        let keys = KeySet::read(set.as_bytes()).unwrap();
        let named = |kid: &str| {
            let header = BASE64URL.encode(format!(r#"{{"alg": "ES256", "kid": "{kid}"}}"#));
            let text = format!("{header}.{PAYLOAD}.{ES256_SIGNATURE}");
            keys.of(&Token::read(&text).unwrap()).len()
        };
        let found: Vec<usize> = ["a", "b", "c", "d", "e", "f", "g"].map(named).to_vec();
        assert_eq!(found, [1, 1, 0, 0, 0, 0, 0]);
        let text = es256();
        let nameless = Token::read(&text).unwrap();
        assert!(keys.of(&nameless).is_empty(), "two could be meant");
        let rsa = &keys.0.last().unwrap().1;
        let (n, e) = (vec![1, 2], vec![1, 0, 1]);
        assert_eq!(*rsa, Key::Rsa { n, e });
        assert!(KeySet::read(br#"{"keys": []}"#).is_err());
        assert!(KeySet::read(b"<html>").is_err());
    }

    #[test]
    fn a_pem_is_a_key_of_p256_or_none() {
        let point = [&[UNCOMPRESSED][..], &[7; 64]].concat();
        let der = [&P256_PUBLIC_KEY[..], &point].concat();
        let pem = |der: &[u8]| {
            let text = BASE64.encode(der);
            let (first, second) = text.split_at(64.min(text.len()));
            format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
        };
        assert_eq!(Key::from_pem(&pem(&der)), Some(Key::P256(point)));
        assert_eq!(Key::from_pem(&pem(&der[..90])), None);
        assert_eq!(Key::from_pem(&pem(&[&der[..], &[0]].concat())), None);
        assert_eq!(Key::from_pem("Not found"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_refused_and_nothing_more(text in ".{0,300}", pem in any::<Vec<u8>>(), set in any::<Vec<u8>>()) {
            prop_assert!(Token::read(&text).is_err());
            prop_assert_eq!(Key::from_pem(&String::from_utf8_lossy(&pem)), None);
            prop_assert!(KeySet::read(&set).is_err());
        }

        #[test]
        fn a_token_with_another_character_anywhere_is_not_verified(at in 0_usize..200, new in "[-_A-Za-z0-9.=]") {
            let keys = KeySet::read(ES256_KEY.as_bytes()).unwrap();
            let mut changed = es256();
            let at = at % changed.len();
            prop_assume!(changed[at..=at] != new);
            changed.replace_range(at..=at, &new);
            let verified = Token::read(&changed).and_then(|token| token.verified(keys.of(&token)));
            prop_assert!(verified.is_err(), "{}", changed);
        }
    }
}
