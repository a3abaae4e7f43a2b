//! Curves as an SVG file, both axes logarithmic.
//!
//! Written by hand: two axes, lines and a legend are less than what a crate for plots (`plotters` with
//! its own font and colour crates) brings to learn and to build, and the file stays small and readable.

use std::fmt::Write as _;

/// One line with its points, `(across, up)`, all above zero.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A picture.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What the axes are.
    pub(super) across: &'static str,
    pub(super) up: &'static str,
    /// The first is drawn thicker: it is ours.
    pub(super) curves: Vec<Curve>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 460.0;
/// The field of the curves: left, right, top, bottom.
const FIELD: [f64; 4] = [64.0, 560.0, 48.0, 404.0];
/// Told apart by people who see few colours too (Okabe and Ito), and by their marks' order in the legend.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// A logarithmic axis from one power of ten to another.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: i32,
    to: i32,
    /// Where both ends are in the picture.
    place: [f64; 2],
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, place: [f64; 2]) -> Self {
        let (least, most) = values.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let (from, to) = (power(least.min(most), f64::floor), power(most, f64::ceil));
        Self {
            from,
            to: to.max(from + 1),
            place,
        }
    }

    fn at(self, value: f64) -> f64 {
        let part = (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        self.place[0] + part * (self.place[1] - self.place[0])
    }

    /// The powers of ten on it.
    fn ticks(self) -> impl Iterator<Item = f64> {
        (self.from..=self.to).map(|power| 10_f64.powi(power))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the logarithm of a measurement is small"
)]
fn power(value: f64, round: fn(f64) -> f64) -> i32 {
    round(value.log10()) as i32
}

impl Chart {
    /// The picture.
    pub(super) fn svg(&self) -> String {
        let [left, right, top, bottom] = FIELD;
        let points = || self.curves.iter().flat_map(|curve| curve.points.iter());
        let across = Axis::of(points().map(|p| p.0), [left, right]);
        let up = Axis::of(points().map(|p| p.1), [bottom, top]);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n\
             <title>{0}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{left}\" y=\"28\" font-size=\"16\">{0}</text>\n",
            escape(self.title)
        );
        for tick in across.ticks() {
            let x = across.at(tick);
            line(&mut svg, [x, top, x, bottom]);
            text(&mut svg, [x, bottom + 20.0], "middle", &short(tick));
        }
        for tick in up.ticks() {
            let y = up.at(tick);
            line(&mut svg, [left, y, right, y]);
            text(&mut svg, [left - 8.0, y + 4.0], "end", &short(tick));
        }
        text(&mut svg, [right, bottom + 42.0], "end", self.across);
        text(&mut svg, [left - 8.0, top - 8.0], "end", self.up);
        // Ours comes last, so that it lies on top.
        for (number, curve) in self.curves.iter().enumerate().rev() {
            let colour = COLOURS[number % COLOURS.len()];
            let thick = if number == 0 { 3.5 } else { 1.8 };
            let mut path = String::new();
            for (x, y) in &curve.points {
                let (x, y) = (across.at(*x), up.at(*y));
                // Writing to a string does not fail.
                let _ = write!(path, "{x:.1},{y:.1} ");
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{thick}\" fill=\"{colour}\"/>"
                );
            }
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{thick}\"/>",
                path.trim_end()
            );
        }
        for (number, curve) in self.legend().into_iter().enumerate() {
            let y = top + 12.0 + f64::from(u32::try_from(number).unwrap_or(0)) * 22.0;
            let colour = COLOURS[curve % COLOURS.len()];
            let _ = writeln!(
                svg,
                "<line x1=\"{0}\" y1=\"{y}\" x2=\"{1}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"3.5\"/>",
                right + 16.0,
                right + 38.0
            );
            text(
                &mut svg,
                [right + 46.0, y + 4.0],
                "start",
                &self.curves[curve].name,
            );
        }
        svg += "</svg>\n";
        svg
    }

    /// The curves in the order of their right ends, highest first, so that the legend reads as they do.
    fn legend(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.curves.len()).collect();
        let end = |curve: &usize| self.curves[*curve].points.last().map_or(0.0, |p| p.1);
        order.sort_by(|a, b| end(b).total_cmp(&end(a)));
        order
    }
}

fn line(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>"
    );
}

fn text(svg: &mut String, [x, y]: [f64; 2], anchor: &str, text: &str) {
    let text = escape(text);
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// A power of ten for an axis.
fn short(value: f64) -> String {
    if value >= 1e6 {
        format!("{} million", value / 1e6)
    } else if value >= 1e4 {
        format!("{},000", value / 1e3)
    } else {
        format!("{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_where_their_logarithms_are() {
        let axis = Axis::of([20.0, 900.0].into_iter(), [0.0, 100.0]);
        assert_eq!((axis.from, axis.to), (1, 3));
        assert!((axis.at(100.0) - 50.0).abs() < 1e-9);
        assert_eq!(
            axis.ticks().map(short).collect::<Vec<_>>(),
            ["10", "100", "1000"]
        );
        // One value, or one power of ten, has an axis too.
        assert_eq!(Axis::of([10.0].into_iter(), [0.0, 1.0]).to, 2);
    }

    #[test]
    fn a_chart_names_its_curves_highest_first() {
        let curve = |name: &str, y| Curve {
            name: name.into(),
            points: vec![(1e3, y), (1e6, y * 100.0)],
        };
        let chart = Chart {
            title: "a < b",
            across: "files",
            up: "s",
            curves: vec![curve("ours", 0.1), curve("theirs", 1.0)],
        };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b"), "{svg}");
        assert!(
            svg.find(">theirs<").unwrap() < svg.find(">ours<").unwrap(),
            "{svg}"
        );
        assert_eq!(svg.matches("<circle").count(), 4, "{svg}");
    }
}
