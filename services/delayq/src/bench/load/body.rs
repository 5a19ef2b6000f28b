//! Values that look like what teams delay: JSON in the shapes of public event formats. Names repeat, values do not: they
//! compress as real events do, not as zeros.

use std::fmt::Write as _;

use crate::sequence::Sequence;

/// Writes record `n`'s value of about `bytes` bytes into `text`, which is cleared first. Four shapes take turns.
pub(super) fn write(text: &mut String, n: u32, bytes: usize, random: &mut Sequence) {
    text.clear();
    // Writing to a String cannot fail.
    let written = match n % 4 {
        0 => order(text, n, bytes, random),
        1 => payment(text, n, bytes, random),
        2 => repository(text, n, bytes, random),
        _ => tracking(text, n, bytes, random),
    };
    debug_assert!(written.is_ok());
}

/// A CloudEvent (<https://github.com/cloudevents/spec>, JSON format 1.0) about an order.
fn order(text: &mut String, n: u32, bytes: usize, random: &mut Sequence) -> std::fmt::Result {
    let (id, customer) = (random.next(), random.next() % 100_000);
    write!(
        text,
        r#"{{"specversion":"1.0","type":"com.example.order.payment-timeout","source":"/shops/{}","id":"{id:012x}","time":"2026-11-{:02}T{:02}:{:02}:{:02}Z","datacontenttype":"application/json","data":{{"order":"ord-{n:010}","customer":{customer},"items":["#,
        customer % 40,
        random.next() % 30 + 1,
        random.next() % 24,
        random.next() % 60,
        random.next() % 60,
    )?;
    while text.len() + 110 < bytes {
        let (sku, cents) = (random.next(), random.next() % 100_000);
        let quantity = random.next() % 9 + 1;
        write!(
            text,
            r#"{{"sku":"{sku:012x}","quantity":{quantity},"price":{{"cents":{cents},"currency":"EUR"}}}},"#
        )?;
    }
    text.push_str(r#"null],"state":"awaiting-payment"}}"#);
    Ok(())
}

/// A payment as in Stripe's webhooks (<https://docs.stripe.com/api/events/object>).
fn payment(text: &mut String, n: u32, bytes: usize, random: &mut Sequence) -> std::fmt::Result {
    let (id, amount) = (random.next(), random.next() % 1_000_000);
    write!(
        text,
        r#"{{"id":"evt_{id:012x}{n:08x}","object":"event","api_version":"2026-10-01","created":{},"livemode":true,"type":"payment_intent.processing","data":{{"object":{{"id":"pi_{:012x}","object":"payment_intent","amount":{amount},"amount_received":0,"currency":"eur","capture_method":"automatic","customer":"cus_{:012x}","status":"processing","payment_method_types":["card"],"charges":["#,
        1_795_600_000 + random.next() % 1_000_000,
        random.next(),
        random.next(),
    )?;
    while text.len() + 180 < bytes {
        let (charge, digits) = (random.next(), random.next() % 10_000);
        write!(
            text,
            r#"{{"id":"ch_{charge:012x}","amount":{},"card":{{"brand":"visa","last4":"{digits:04}","exp_year":{}}},"outcome":{{"risk_score":{}}}}},"#,
            random.next() % 1_000_000,
            2027 + digits % 6,
            charge % 100
        )?;
    }
    text.push_str(r#"null],"metadata":{}}},"pending_webhooks":1}"#);
    Ok(())
}

/// A push as in GitHub's webhooks (<https://docs.github.com/en/webhooks/webhook-events-and-payloads#push>).
fn repository(text: &mut String, n: u32, bytes: usize, random: &mut Sequence) -> std::fmt::Result {
    let mut sha = |text: &mut String| {
        write!(
            text,
            "{:012x}{:012x}{:012x}{:04x}",
            random.next(),
            random.next(),
            random.next(),
            random.next() & 0xffff
        )
    };
    text.push_str(r#"{"ref":"refs/heads/main","before":""#);
    sha(text)?;
    text.push_str(r#"","after":""#);
    sha(text)?;
    write!(
        text,
        r#"","repository":{{"id":{n},"name":"service-{}","private":true}},"commits":["#,
        n % 500
    )?;
    while text.len() + 260 < bytes {
        text.push_str(r#"{"id":""#);
        sha(text)?;
        write!(
            text,
            r#"","distinct":true,"message":"Fix {} of {}","author":{{"name":"Dev {}","email":"dev{}@example.com"}},"added":[],"modified":["src/module_{}/mod.rs"]}},"#,
            n % 7919,
            n % 104_729,
            n % 300,
            n % 300,
            n % 97
        )?;
    }
    text.push_str(r#"null],"forced":false}"#);
    Ok(())
}

/// A track call as in Segment's spec (<https://segment.com/docs/connections/spec/track/>).
fn tracking(text: &mut String, n: u32, bytes: usize, random: &mut Sequence) -> std::fmt::Result {
    write!(
        text,
        r#"{{"type":"track","event":"Reminder Scheduled","messageId":"{:012x}-{n}","userId":"{}","anonymousId":"{:012x}","context":{{"ip":"10.{}.{}.{}","library":{{"name":"analytics.js","version":"2.11.1"}},"locale":"de-DE"}},"properties":{{"#,
        random.next(),
        random.next() % 1_000_000,
        random.next(),
        random.next() % 256,
        random.next() % 256,
        random.next() % 256,
    )?;
    let mut field = 0;
    while text.len() + 90 < bytes {
        write!(
            text,
            r#""metric_{field}":{{"value":{}.{:03},"unit":"ms"}},"#,
            random.next() % 10_000,
            random.next() % 1000
        )?;
        field += 1;
    }
    text.push_str(r#""plan":"pro"},"timestamp":"2026-11-25T00:00:00Z"}"#);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_json_of_about_the_size_asked_for() {
        let mut random = Sequence::default();
        let mut text = String::new();
        for n in 0..8 {
            write(&mut text, n, 1024, &mut random);
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
            assert!((900..=1100).contains(&text.len()), "{} {text}", text.len());
        }
    }

    #[test]
    fn no_two_are_equal() {
        let mut random = Sequence::default();
        let mut seen = std::collections::HashSet::new();
        for n in 0..1000 {
            let mut text = String::new();
            write(&mut text, n, 256, &mut random);
            assert!(seen.insert(text));
        }
    }
}
