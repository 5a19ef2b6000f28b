//! What a verified token says: for whom it is, until when, who that is, and what that person may do.

use delayq_core::clock::EpochMs;
use serde_json::{Map, Value};

use crate::access::{Person, Role};

/// How far two clocks may be apart.
const LEEWAY_S: i64 = 60;
/// Longest name that is noted, in characters.
const NAME_MAX: usize = 200;
/// Whoever signed in, in the list of viewers.
const EVERYONE: &str = "*";

pub(super) type Claims = Map<String, Value>;

/// Whether it is valid at `now_ms`: until when it is taken, in milliseconds since 1970.
pub(super) fn check_times(claims: &Claims, now_ms: EpochMs) -> Result<EpochMs, String> {
    let expires_s = claims
        .get("exp")
        .and_then(seconds)
        .ok_or("it does not say until when it is valid (exp)")?;
    if let Some(from) = claims.get("nbf") {
        let from_s = seconds(from).ok_or("since when it is valid (nbf) is no number")?;
        if now_ms.div_euclid(1000) < from_s.saturating_sub(LEEWAY_S) {
            return Err("it is not valid yet (nbf)".to_owned());
        }
    }
    not_expired(expires_s, now_ms)
}

/// As [`check_times`], of a time alone.
pub(super) fn not_expired(expires_s: i64, now_ms: EpochMs) -> Result<EpochMs, String> {
    let until_ms = expires_s.saturating_add(LEEWAY_S).saturating_mul(1000);
    if now_ms >= until_ms {
        return Err("it has expired".to_owned());
    }
    Ok(until_ms)
}

/// A time of a token: whole seconds since 1970, or with a fraction.
pub(super) fn seconds(value: &Value) -> Option<i64> {
    // Beyond the range it is the range's end.
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64))
}

/// Whether it is by this issuer.
pub(super) fn check_issuer(claims: &Claims, issuer: &str) -> Result<(), String> {
    match claims.get("iss").and_then(Value::as_str) {
        Some(by) if by == issuer => Ok(()),
        _ => Err(format!("it is not by the issuer {issuer}")),
    }
}

/// Whether it is for this audience.
pub(super) fn check_audience(claims: &Claims, audience: &str) -> Result<(), String> {
    let is_for = match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(several)) => several.iter().any(|one| one == audience),
        _ => false,
    };
    if is_for {
        return Ok(());
    }
    Err(format!("it is not for the audience {audience} (aud)"))
}

/// Whom it is about.
pub(super) fn person(claims: &Claims) -> Result<Person, String> {
    let text = |claim: &str| {
        let value = claims.get(claim)?.as_str()?;
        let short: String = value
            .chars()
            .filter(|char| !char.is_control())
            .take(NAME_MAX)
            .collect();
        (!short.is_empty()).then_some(short)
    };
    Ok(Person {
        sub: text("sub").ok_or("it names nobody (sub)")?,
        name: text("email").or_else(|| text("preferred_username")),
    })
}

/// Who is what.
#[derive(Debug, Clone)]
pub(super) struct Roles {
    pub(super) claim: String,
    pub(super) operators: Vec<String>,
    pub(super) viewers: Vec<String>,
}

impl Roles {
    /// The role that the claims give.
    ///
    /// # Errors
    /// None: in words for that person.
    pub(super) fn of(&self, claims: &Claims) -> Result<Role, String> {
        let has = |wanted: &[String]| match claims.get(&self.claim) {
            Some(Value::String(text)) => {
                wanted.contains(text) || text.split_whitespace().any(|part| among(wanted, part))
            }
            Some(Value::Array(list)) => {
                let texts = list.iter().filter_map(Value::as_str);
                texts.into_iter().any(|text| among(wanted, text))
            }
            _ => false,
        };
        if has(&self.operators) {
            Ok(Role::Operator)
        } else if among(&self.viewers, EVERYONE) || has(&self.viewers) {
            Ok(Role::Viewer)
        } else {
            Err(self.needed())
        }
    }

    /// What a person would have to have.
    fn needed(&self) -> String {
        let list = |values: &[String], role: &str| match values {
            [] => None,
            values => Some(format!("{} ({role})", values.join(", "))),
        };
        let wanted: Vec<String> = [
            list(&self.operators, "operators"),
            list(&self.viewers, "viewers"),
        ]
        .into_iter()
        .flatten()
        .collect();
        format!(
            "you are signed in, but have no role here: your claim \"{}\" would have to hold one of {}; ask whoever gives roles at the issuer",
            self.claim,
            wanted.join(", or one of ")
        )
    }
}

fn among(list: &[String], one: &str) -> bool {
    // "*" stands for everyone, and is nobody's role.
    list.iter().any(|listed| listed == one)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn claims(value: Value) -> Claims {
        let Value::Object(claims) = value else {
            panic!("{value}");
        };
        claims
    }

    fn roles(viewers: &[&str]) -> Roles {
        let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        Roles {
            claim: "groups".to_owned(),
            operators: list(&["ops", "on call"]),
            viewers: list(viewers),
        }
    }

    #[test]
    fn times_have_a_minute_of_leeway() {
        let times = |value| check_times(&claims(value), NOW_MS);
        let now_s = NOW_MS / 1000;
        assert_eq!(times(json!({"exp": now_s + 1})), Ok(NOW_MS + 61_000));
        assert_eq!(times(json!({"exp": now_s - 59})), Ok(NOW_MS + 1_000));
        assert!(
            times(json!({"exp": now_s - 60}))
                .unwrap_err()
                .contains("expired")
        );
        assert!(times(json!({"exp": now_s as f64 - 60.5})).is_err());
        assert!(times(json!({"exp": now_s as f64 + 0.5})).is_ok());
        for none in [
            json!({}),
            json!({"exp": "9999999999"}),
            json!({"exp": null}),
        ] {
            assert!(times(none.clone()).unwrap_err().contains("exp"), "{none}");
        }
        let from = |nbf: Value| times(json!({"exp": now_s + 1, "nbf": nbf}));
        assert!(from(json!(now_s + 60)).is_ok());
        assert!(
            from(json!(now_s + 61))
                .unwrap_err()
                .contains("not valid yet")
        );
        assert!(from(json!("0")).unwrap_err().contains("nbf"));
        assert!(times(json!({"exp": i64::MAX})).is_ok());
        assert!(times(json!({"exp": 1e300})).is_ok());
        assert!(times(json!({"exp": i64::MIN})).is_err());
    }

    #[test]
    fn issuer_and_audience_are_ours() {
        let issuer = |value| check_issuer(&claims(value), "https://i").is_ok();
        assert!(issuer(json!({"iss": "https://i"})));
        for other in [
            json!({}),
            json!({"iss": "https://i/"}),
            json!({"iss": ["https://i"]}),
        ] {
            assert!(!issuer(other.clone()), "{other}");
        }
        let audience = |value| check_audience(&claims(value), "delayq").is_ok();
        assert!(audience(json!({"aud": "delayq"})));
        assert!(audience(json!({"aud": ["other", "delayq"]})));
        for other in [
            json!({}),
            json!({"aud": "delay"}),
            json!({"aud": []}),
            json!({"aud": {"delayq": 1}}),
        ] {
            assert!(!audience(other.clone()), "{other}");
        }
    }

    #[test]
    fn roles_come_from_the_claim_in_any_of_its_forms() {
        let role = |groups: Value| roles(&["dev"]).of(&claims(json!({"groups": groups})));
        for operator in [
            json!("ops"),
            json!("dev ops"),
            json!(["x", "ops"]),
            json!("on call"),
            json!(["on call"]),
        ] {
            assert_eq!(role(operator.clone()), Ok(Role::Operator), "{operator}");
        }
        assert_eq!(role(json!(["dev"])), Ok(Role::Viewer));
        for none in [
            json!("op"),
            json!([]),
            json!(null),
            json!(5),
            json!([["ops"]]),
            json!({"ops": true}),
            json!("on"),
        ] {
            let told = role(none).unwrap_err();
            for part in ["\"groups\"", "ops, on call (operators)", "dev (viewers)"] {
                assert!(told.contains(part), "{part} in {told}");
            }
        }
        let anyone = roles(&["*"]);
        assert_eq!(anyone.of(&claims(json!({}))), Ok(Role::Viewer));
        assert_eq!(
            anyone.of(&claims(json!({"groups": ["ops"]}))),
            Ok(Role::Operator)
        );
        assert_eq!(roles(&[]).of(&claims(json!({"groups": "*"}))).ok(), None);
    }

    #[test]
    fn a_person_has_a_subject_and_perhaps_a_name() {
        let who = |value| person(&claims(value));
        let named =
            who(json!({"sub": "u-1", "email": "a@b.c", "preferred_username": "a"})).unwrap();
        assert_eq!(
            (named.sub.as_str(), named.name.as_deref()),
            ("u-1", Some("a@b.c"))
        );
        let named = who(json!({"sub": "u\n1", "preferred_username": "a".repeat(999)})).unwrap();
        assert_eq!(named.sub, "u1");
        assert_eq!(named.name.map(|name| name.len()), Some(NAME_MAX));
        assert!(who(json!({"email": "a@b.c"})).unwrap_err().contains("sub"));
        assert!(who(json!({"sub": ""})).is_err());
    }
}
