//! `delayq dead-letters show`: one letter whole, its content loaded from where it is.

use delayq_core::headers::OUT_SOURCE;
use delayq_core::record::Incoming;
use delayq_runtime::config::Config;

use super::desk::Desk;
use super::letter::Letter;
use super::marks::Marks;
use super::position::Wanted;
use crate::operator::Output;

/// Arguments.
#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
    /// PARTITION/OFFSET as `list` shows it, or TOPIC/PARTITION/OFFSET of its record: then all letters about it.
    #[arg(value_name = "LETTER")]
    pub letter: Wanted,
    /// One JSON object a letter.
    #[arg(long)]
    pub json: bool,
}

/// Shows; `false` when there is no such letter.
///
/// # Errors
/// A broker or payload table that does not answer, a payload that is gone.
pub async fn show(
    config: &Config,
    args: &ShowArgs,
    output: &mut Output<'_>,
) -> anyhow::Result<bool> {
    let mut desk = Desk::open(config).await?;
    let mut found = false;
    for marks in desk.marks() {
        let (from, one) = match &args.letter {
            Wanted::At(at) if at.partition != marks.partition() => continue,
            Wanted::At(at) => (at.offset, true),
            Wanted::From(_) => (0, false),
        };
        desk.log.seek(marks.partition(), from)?;
        loop {
            let letters = desk.log.read().await?;
            if letters.is_empty() {
                break;
            }
            for incoming in letters
                .into_iter()
                .filter(|letter| is(letter, &args.letter))
            {
                found = true;
                tell(&mut desk, &marks, incoming, output).await?;
            }
            if one {
                break;
            }
        }
    }
    if !found {
        (output.note)(
            "there is no such dead letter: see `delayq dead-letters list --all`; Kafka deletes letters when the topic's retention.ms is over",
        )?;
    }
    Ok(found)
}

fn is(letter: &Incoming, wanted: &Wanted) -> bool {
    match wanted {
        Wanted::At(at) => letter.source.offset == at.offset,
        Wanted::From(source) => {
            letter.record.header_text(OUT_SOURCE) == Some(source.to_string().as_str())
        }
    }
}

async fn tell(
    desk: &mut Desk<'_>,
    marks: &Marks,
    incoming: Incoming,
    output: &mut Output<'_>,
) -> anyhow::Result<()> {
    let open = !marks.is_done(&incoming);
    let letter = Letter::new(incoming, open);
    let content = desk.content(&letter).await?;
    if output.json {
        let json = letter.json_whole(&desk.policy.names, &content);
        (output.out)(&json.to_string())?;
    } else {
        for line in letter.whole(&content) {
            (output.out)(&line)?;
        }
    }
    Ok(())
}
