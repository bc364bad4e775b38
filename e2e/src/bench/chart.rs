//! Measured values as a picture (pure): a panel of bars for each thing that was measured, a row for each way to do it.

use std::fmt::Write as _;

/// A measured value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl From<(f64, f64, f64)> for Spread {
    fn from((median, least, most): (f64, f64, f64)) -> Self {
        Self { median, least, most }
    }
}

/// What is measured in one way: a value for each panel, None where there is no such measurement.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) values: Vec<Option<Spread>>,
}

const WIDTH: f64 = 860.0;
/// Room left of that for long names, whatever the font.
const MARGIN: f64 = 20.0;
/// Where the first panel begins.
const LEFT: f64 = 200.0;
/// Room right of the last panel, and right of the longest bar of each for its value.
const RIGHT: f64 = 30.0;
const VALUE: f64 = 80.0;
const ROW: f64 = 30.0;
const TOP: f64 = 50.0;
/// The gray that can be read on white and on black.
const INK: &str = "#6e7781";
const BAR: &str = "#2f81f7";

/// An SVG that can be read on a light and on a dark page. Each of `panels` is the title of one.
pub(super) fn svg(title: &str, panels: &[String], rows: &[Row]) -> String {
    let mut bottom = TOP;
    let mut body = String::new();
    let count = u32::try_from(panels.len()).unwrap_or(1).max(1);
    let pitch = (WIDTH - LEFT - RIGHT) / f64::from(count);
    let left = |panel: u32| LEFT + pitch * f64::from(panel);
    for (panel, title) in (0..).zip(panels) {
        text(&mut body, left(panel), 24.0, "start", title);
    }
    let most = |panel: usize| {
        let values = rows.iter().filter_map(|row| row.values.get(panel).copied()?);
        values.map(|value| value.most).fold(0.0, f64::max)
    };
    let scales: Vec<f64> = (0..panels.len())
        .map(|panel| (pitch - VALUE) / most(panel))
        .collect();
    for row in rows {
        text(&mut body, LEFT - 10.0, bottom + 5.0, "end", row.name);
        for ((panel, value), scale) in (0..).zip(&row.values).zip(&scales) {
            if let Some(value) = value {
                bar(&mut body, left(panel), bottom, *scale, *value);
            }
        }
        bottom += ROW;
    }
    let width = WIDTH + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-{MARGIN} 0 {width} {bottom}\" font-family=\"sans-serif\" \
         font-size=\"13\" role=\"img\">\n<title>{title}</title>\n{body}</svg>\n"
    )
}

/// The median as a bar, least and most as a line over its end.
fn bar(body: &mut String, left: f64, middle: f64, scale: f64, value: Spread) {
    let Spread { median, least, most } = value;
    let (width, from, to) = (median * scale, left + least * scale, left + most * scale);
    let _ = writeln!(
        body,
        "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"16\" fill=\"{BAR}\"/>",
        middle - 8.0
    );
    let _ = writeln!(
        body,
        "<path d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v8M{to:.1} {:.1}v8\" stroke=\"{INK}\" fill=\"none\"/>",
        middle - 4.0,
        middle - 4.0
    );
    text(body, to + 8.0, middle + 5.0, "start", &number(median));
}

/// With about two significant digits.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{INK}\">{text}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(median: f64) -> Spread {
        (median, median - 0.5, median + 0.5).into()
    }

    #[test]
    fn each_way_has_a_bar_for_each_measurement() {
        let rows = [
            Row {
                name: "warm",
                values: vec![Some(around(1.0)), Some(around(9.5))],
            },
            Row {
                name: "stock",
                values: vec![Some(around(4.5)), None],
            },
        ];
        let panels = ["one".to_owned(), "ten".to_owned()];
        let picture = svg("Seconds", &panels, &rows);
        assert_eq!(picture.matches("<rect").count(), 3);
        // The longest line ends where the panel does.
        assert!(
            picture.contains("H435.0M") && picture.contains("H750.0M"),
            "{picture}"
        );
        for name in ["warm", "stock", ">ten<", ">9.5<", "<title>Seconds</title>"] {
            assert!(picture.contains(name), "{name}");
        }
    }
}
