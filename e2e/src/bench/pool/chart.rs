//! The measured times as a picture (pure): a panel of bars for one task alone, and one for the last of several.

use std::fmt::Write as _;

/// Measured seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// What is measured in one way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) alone: Times,
    /// None where there is no such measurement.
    pub(super) last: Option<Times>,
}

const WIDTH: f64 = 860.0;
/// Where the bars of a panel begin, and how long the longest is.
const PANELS: [(f64, f64); 2] = [(170.0, 250.0), (500.0, 250.0)];
const ROW: f64 = 30.0;
const TOP: f64 = 50.0;
/// The gray that can be read on white and on black.
const INK: &str = "#6e7781";
const BAR: &str = "#2f81f7";

/// An SVG that can be read on a light and on a dark page.
pub(super) fn svg(rows: &[Row], at_once: usize) -> String {
    let mut bottom = TOP;
    let mut body = String::new();
    let title = [
        "one task alone".to_owned(),
        format!("the last of {at_once} at once"),
    ];
    for ((left, _), title) in PANELS.iter().zip(&title) {
        text(&mut body, *left, 24.0, "start", &format!("{title}, seconds"));
    }
    let all = |of: fn(&Row) -> Option<Times>| rows.iter().filter_map(of).map(|t| t.most).fold(0.0, f64::max);
    let of: [fn(&Row) -> Option<Times>; 2] = [|row| Some(row.alone), |row| row.last];
    for row in rows {
        text(&mut body, PANELS[0].0 - 10.0, bottom + 5.0, "end", row.name);
        for ((left, longest), of) in PANELS.iter().zip(of) {
            if let Some(times) = of(row) {
                bar(&mut body, *left, bottom, longest / all(of), times);
            }
        }
        bottom += ROW;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {bottom}\" font-family=\"sans-serif\" \
         font-size=\"13\" role=\"img\">\n<title>Seconds from submitting a small ingestion until SUCCESS</title>\n\
         {body}</svg>\n"
    )
}

/// The median as a bar, least and most as a line over its end.
fn bar(body: &mut String, left: f64, middle: f64, scale: f64, times: Times) {
    let Times { median, least, most } = times;
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
    text(body, to + 8.0, middle + 5.0, "start", &format!("{median:.1}"));
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

    fn times(median: f64) -> Times {
        Times {
            median,
            least: median - 0.5,
            most: median + 0.5,
        }
    }

    #[test]
    fn each_way_has_a_bar_for_each_measurement() {
        let rows = [
            Row {
                name: "warm",
                alone: times(1.0),
                last: Some(times(9.5)),
            },
            Row {
                name: "stock",
                alone: times(4.5),
                last: None,
            },
        ];
        let picture = svg(&rows, 10);
        assert_eq!(picture.matches("<rect").count(), 3);
        // The longest line ends where the panel does.
        assert!(
            picture.contains("H420.0M") && picture.contains("H750.0M"),
            "{picture}"
        );
        for name in ["warm", "stock", "the last of 10 at once, seconds", ">9.5<"] {
            assert!(picture.contains(name), "{name}");
        }
    }
}
