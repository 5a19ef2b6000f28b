//! What a role tells over HTTP: `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ANSWER: Duration = Duration::from_secs(10);

/// Samples in the Prometheus text format, of several processes added up.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// `name{labels}` to value.
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Whether `/readyz` answers 200.
    pub(super) async fn is_ready(port: u16) -> bool {
        matches!(get(port, "/readyz").await, Ok((200, _)))
    }

    /// What `/metrics` says.
    pub(super) async fn of(port: u16) -> anyhow::Result<Self> {
        match get(port, "/metrics").await? {
            (200, body) => Ok(Self::parsed(&body)),
            (status, _) => bail!("/metrics answered {status}"),
        }
    }

    fn parsed(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self {
            samples: samples.collect(),
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        for (name, value) in other.samples {
            *self.samples.entry(name).or_default() += value;
        }
    }

    /// The sum of a metric over the samples that have all of `labels` (`tier="short"`).
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let of_name = self.samples.iter().filter(|(sample, _)| {
            sample.strip_prefix(name).is_some_and(|rest| {
                (rest.is_empty() || rest.starts_with('{'))
                    && labels.iter().all(|label| rest.contains(label))
            })
        });
        of_name.map(|(_, value)| value).sum()
    }
}

/// Status and body. The roles speak HTTP/1.1 on loopback: nothing that a client library would add is needed.
async fn get(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(ANSWER, asked)
        .await
        .context("no answer")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.context("no HTTP status")?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_added_by_name_and_label() {
        let text = "# TYPE a counter\na{tier=\"short\",x=\"1\"} 3\na{tier=\"short\",x=\"2\"} 4\na{tier=\"long\"} 5\nab 7\nc 1.5\n";
        let mut scrape = Scrape::parsed(text);
        scrape.add(Scrape::parsed("c 1\n"));
        assert_eq!(scrape.sum("a", &[]), 12.0);
        assert_eq!(scrape.sum("a", &["tier=\"short\""]), 7.0);
        assert_eq!(scrape.sum("ab", &[]), 7.0);
        assert_eq!(scrape.sum("c", &[]), 2.5);
        assert_eq!(scrape.sum("none", &[]), 0.0);
    }
}
