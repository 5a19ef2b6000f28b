//! A scenario's figures drawn as SVG.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::reader::Seen;
use super::timeline::Memory;

const SIZE: (u32, u32) = (760, 300);
/// Lines in one plot are told apart by these (<https://personal.sron.nl/~pault/>, bright).
const COLOURS: [RGBColor; 7] = [
    RGBColor(68, 119, 170),
    RGBColor(238, 102, 119),
    RGBColor(34, 136, 51),
    RGBColor(204, 187, 68),
    RGBColor(102, 204, 238),
    RGBColor(170, 51, 119),
    RGBColor(187, 187, 187),
];
/// Quantiles are drawn up to 1 − 10⁻⁵.
const NINES: f64 = 5.0;
const QUANTILE_STEPS: u32 = 100;

/// Where plots go, and what their names and captions begin with.
pub(super) struct Plots {
    directory: PathBuf,
    name: String,
    caption: String,
}

type Points = Vec<(f64, f64)>;

/// One plot's axes.
struct Axes<'a> {
    x: &'a str,
    y: &'a str,
    x_text: fn(&f64) -> String,
}

impl Plots {
    pub(super) fn new(directory: &Path, name: String, caption: String) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make --plots {}", directory.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
            name,
            caption,
        })
    }

    /// Records published by the second, from `from_ms` (since the epoch) on.
    pub(super) fn throughput(&self, seen: &Seen, from_ms: i64) -> anyhow::Result<()> {
        let from_s = from_ms.div_euclid(1000);
        let last_s = seen.last_ms.div_euclid(1000);
        let at = |second: i64| f64::from(seen.by_second.get(&second).copied().unwrap_or(0));
        let points = (from_s.min(seen.first_ms.div_euclid(1000))..=last_s)
            .map(|second| ((second - from_s) as f64, at(second)));
        let axes = Axes {
            x: "seconds",
            y: "records/s",
            x_text: |x| x.to_string(),
        };
        let lines = vec![("published".to_owned(), points.collect())];
        self.draw("throughput", "published by the second", &axes, lines)
    }

    /// Lateness by quantile, for each output topic.
    pub(super) fn lateness(&self, seen: &Seen, outputs: &[String]) -> anyhow::Result<()> {
        let lines = outputs.iter().filter_map(|topic| {
            let histogram = seen.lateness_ms.get(topic.as_str())?;
            let priority = topic.rsplit('.').next().unwrap_or(topic);
            Some((priority.to_owned(), by_quantile(histogram)))
        });
        let axes = Axes {
            x: "share of the records",
            y: "ms late, at most",
            x_text: |nines| share(*nines),
        };
        self.draw("lateness", "lateness", &axes, lines.collect())
    }

    /// Resident memory of each process.
    pub(super) fn memory(&self, memory: Memory) -> anyhow::Result<()> {
        let axes = Axes {
            x: "seconds",
            y: "MiB resident",
            x_text: |x| x.to_string(),
        };
        self.draw("memory", "memory", &axes, memory.into_iter().collect())
    }

    fn draw(
        &self,
        what: &str,
        title: &str,
        axes: &Axes<'_>,
        lines: Vec<(String, Points)>,
    ) -> anyhow::Result<()> {
        let path = self.directory.join(format!("{}-{what}.svg", self.name));
        let area = SVGBackend::new(&path, SIZE).into_drawing_area();
        let title = format!("{}: {title}", self.caption);
        lines_into(&area, &title, axes, &lines)
            .and_then(|()| area.present().map_err(|error| error.to_string()))
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("cannot draw {}", path.display()))
    }
}

fn lines_into(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    axes: &Axes<'_>,
    lines: &[(String, Points)],
) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let points = || lines.iter().flat_map(|(_, points)| points);
    let x_min = points().map(|(x, _)| *x).fold(0.0, f64::min);
    let x_max = points().map(|(x, _)| *x).fold(x_min + 1.0, f64::max);
    let y_max = points().map(|(_, y)| *y).fold(1.0, f64::max) * 1.05;
    area.fill(&WHITE).map_err(|error| text(&error))?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(10)
        .x_label_area_size(38)
        .y_label_area_size(66)
        .build_cartesian_2d(x_min..x_max, 0.0..y_max)
        .map_err(|error| text(&error))?;
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&axes.x_text)
        .y_label_formatter(&|y| y.to_string())
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(|error| text(&error))?;
    for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))
            .map_err(|error| text(&error))?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(TRANSPARENT)
        .draw()
        .map_err(|error| text(&error))
}

/// By the number of nines: 2 is 99 %.
fn by_quantile(histogram: &Histogram<u64>) -> Points {
    let steps =
        (0..=QUANTILE_STEPS).map(|step| NINES * f64::from(step) / f64::from(QUANTILE_STEPS));
    steps
        .map(|nines| {
            let quantile = 1.0 - 10f64.powf(-nines);
            (nines, histogram.value_at_quantile(quantile) as f64)
        })
        .collect()
}

fn share(nines: f64) -> String {
    if nines.fract().abs() > 1e-9 {
        return String::new();
    }
    let percent = 100.0 * (1.0 - 10f64.powf(-nines));
    let digits = (nines - 2.0).max(0.0) as usize;
    format!("{percent:.digits$} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_by_their_nines() {
        let all: Vec<_> = [0.0, 1.0, 2.0, 3.0, 5.0, 1.5].map(share).into();
        assert_eq!(all, ["0 %", "90 %", "99 %", "99.9 %", "99.999 %", ""]);
    }

    #[test]
    fn a_plot_is_drawn_with_its_axes_and_lines() {
        let directory = tempfile::tempdir().unwrap();
        let plots = Plots::new(
            directory.path(),
            "burst-stack".to_owned(),
            "burst".to_owned(),
        )
        .unwrap();
        let memory = [
            ("router", vec![(0.0, 40.0), (1.0, 90.0)]),
            ("emitter", vec![(0.0, 30.0)]),
        ];
        let memory = memory.map(|(name, line)| (name.to_owned(), line));
        plots.memory(memory.into()).unwrap();
        let drawn = std::fs::read_to_string(directory.path().join("burst-stack-memory.svg"));
        let drawn = drawn.unwrap();
        for part in ["<svg", "MiB resident", "router", "emitter", "burst: memory"] {
            assert!(drawn.contains(part), "{part}");
        }
    }
}
