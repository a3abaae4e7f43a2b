//! Sizes as areas: a squarified treemap as SVG.
//!
//! The layout is that of Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000). The same cells give the
//! same bytes. The background is left as it is: cells have white text, and what stands outside
//! of them is of a grey that is read on white and on black.

#![expect(clippy::cast_precision_loss, reason = "a pixel is coarser")]

use std::fmt::Write as _;

/// The picture's size, in pixels as SVG counts them.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 600.0;
/// The height of the title above the cells, and of the legend below.
const MARGIN: f64 = 32.0;
/// Between two cells.
const GAP: f64 = 1.0;
/// Cells with a smaller part of the whole are drawn as one.
const SMALLEST: f64 = 0.001;
/// As wide as a character of the font is at most, for one pixel of its size: most are narrower.
const CHARACTER: f64 = 0.62;
/// The size of the text in cells.
const FONT: f64 = 13.0;
/// A cell's text begins so far from its edge.
const INSET: f64 = 6.0;

/// A size with what people call it.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) bytes: u64,
    pub(crate) colour: Colour,
}

/// The colour of a cell; white text has a contrast of 4.5 or more on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Blue,
    Green,
    Orange,
    Grey,
}

impl Colour {
    const fn hex(self) -> &'static str {
        match self {
            Self::Blue => "#2f6db3",
            Self::Green => "#2e7d4f",
            Self::Orange => "#b3541e",
            Self::Grey => "#666666",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Draws cells, the largest at the top left; those without bytes are left out.
pub(crate) fn draw(title: &str, cells: &[Cell], legend: &[(Colour, &str)]) -> String {
    let cells = visible(cells);
    let weights: Vec<f64> = cells.iter().map(|cell| cell.bytes as f64).collect();
    let whole = Area {
        x: 0.0,
        y: MARGIN,
        width: WIDTH,
        height: HEIGHT - 2.0 * MARGIN,
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"{FONT}\">\n"
    );
    let shown = escape(title);
    // Writing to a string does not fail.
    let _ = writeln!(out, "<title>{shown}</title>");
    let outside = "font-size=\"14\" fill=\"#767676\"";
    let at = fitting(title, WIDTH, 14.0);
    let _ = writeln!(out, "<text x=\"0\" y=\"20\" {outside}>{at}</text>");
    for (cell, area) in cells.iter().zip(squarify(&weights, whole)) {
        rectangle(&mut out, cell, area);
    }
    let mut x = 0.0;
    let y = HEIGHT - 18.0;
    for (colour, name) in legend {
        let fill = colour.hex();
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{fill}\"/>\
             <text x=\"{:.1}\" y=\"{}\" {outside}>{}</text>",
            x + 18.0,
            y + 11.0,
            escape(name)
        );
        x += 42.0 + name.chars().count() as f64 * 14.0 * CHARACTER;
    }
    out.push_str("</svg>\n");
    out
}

/// The cells to be drawn, the largest first; those that nobody would see are one.
fn visible(cells: &[Cell]) -> Vec<Cell> {
    let total: u64 = cells.iter().map(|cell| cell.bytes).sum();
    let limit = total as f64 * SMALLEST;
    let (mut seen, unseen): (Vec<Cell>, Vec<Cell>) = cells
        .iter()
        .filter(|cell| cell.bytes > 0)
        .cloned()
        .partition(|cell| cell.bytes as f64 >= limit);
    match unseen.as_slice() {
        [] => {}
        [one] => seen.push(one.clone()),
        several => seen.push(Cell {
            title: format!("{} smaller ones", several.len()),
            text: String::new(),
            bytes: several.iter().map(|cell| cell.bytes).sum(),
            colour: Colour::Grey,
        }),
    }
    // Cells of one size stay in the order that they came in.
    seen.sort_by_key(|cell| std::cmp::Reverse(cell.bytes));
    seen
}

/// Areas as large as the weights, which fall; together they are the whole.
fn squarify(weights: &[f64], whole: Area) -> Vec<Area> {
    let mut areas = Vec::with_capacity(weights.len());
    let mut rest = whole;
    let mut left: f64 = weights.iter().sum();
    let mut todo = weights;
    while !todo.is_empty() {
        let scale = rest.width * rest.height / left;
        let side = rest.width.min(rest.height);
        // A row along the shorter side takes weights as long as its worst cell gets no thinner.
        let mut length = 1;
        while length < todo.len()
            && worst(&todo[..=length], scale, side) <= worst(&todo[..length], scale, side)
        {
            length += 1;
        }
        let (row, next) = todo.split_at(length);
        let sum: f64 = row.iter().sum();
        let wide = rest.width >= rest.height;
        let thickness = match next {
            // What rounding leaves belongs to somebody.
            [] if wide => rest.width,
            [] => rest.height,
            _ => sum * scale / side,
        };
        let mut at = 0.0;
        for weight in row {
            let span = weight / sum * side;
            areas.push(if wide {
                Area {
                    x: rest.x,
                    y: rest.y + at,
                    width: thickness,
                    height: span,
                }
            } else {
                Area {
                    x: rest.x + at,
                    y: rest.y,
                    width: span,
                    height: thickness,
                }
            });
            at += span;
        }
        if wide {
            rest.x += thickness;
            rest.width -= thickness;
        } else {
            rest.y += thickness;
            rest.height -= thickness;
        }
        left -= sum;
        todo = next;
    }
    areas
}

/// The length of the thinnest cell of a row for one unit of its breadth; the weights fall.
fn worst(row: &[f64], scale: f64, side: f64) -> f64 {
    let thickness = row.iter().sum::<f64>() * scale / side;
    let thin = |weight: f64| {
        let span = weight * scale / thickness;
        (thickness / span).max(span / thickness)
    };
    thin(row[0]).max(thin(row[row.len() - 1]))
}

fn rectangle(out: &mut String, cell: &Cell, area: Area) {
    let hover = format!("{}\n{}", cell.title, cell.text);
    let (width, height) = ((area.width - GAP).max(0.1), (area.height - GAP).max(0.1));
    let fill = cell.colour.hex();
    let _ = write!(
        out,
        "<g><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>",
        escape(hover.trim_end()),
        area.x,
        area.y,
    );
    let line = FONT * 1.4;
    for (number, text) in [&cell.title, &cell.text].into_iter().enumerate() {
        let y = line * (number + 1) as f64;
        let fitted = fitting(text, width - 2.0 * INSET, FONT);
        if y + INSET <= height && !fitted.is_empty() {
            let (x, y) = (area.x + INSET, area.y + y);
            let _ = write!(
                out,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"#ffffff\">{fitted}</text>"
            );
        }
    }
    out.push_str("</g>\n");
}

/// As much of a text as has room, escaped; nothing where three characters have none.
fn fitting(text: &str, width: f64, font: f64) -> String {
    let fits = |number: usize| number as f64 * font * CHARACTER <= width;
    let characters = text.chars().count();
    if fits(characters) {
        return escape(text);
    }
    let most = (1..characters).rev().find(|number| fits(*number));
    match most {
        Some(most) if most >= 3 => {
            let head: String = text.chars().take(most - 1).collect();
            escape(&head) + "…"
        }
        _ => String::new(),
    }
}

/// A text in XML. What no document may hold has a sign in its place.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Area = Area {
        x: 3.0,
        y: 5.0,
        width: 600.0,
        height: 400.0,
    };

    /// The example of the paper, and others that are long, equal or of very different sizes.
    #[test]
    fn areas_are_the_weights_and_fill_the_whole_without_overlap() {
        let falling: Vec<f64> = (1..200).rev().map(|n| f64::from(n * n)).collect();
        for weights in [
            &[6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0][..],
            &[1.0; 37],
            &[1e9, 1.0, 1.0],
            &[5.0],
            &falling,
        ] {
            let areas = squarify(weights, WHOLE);
            assert_eq!(areas.len(), weights.len());
            let total: f64 = weights.iter().sum();
            let all = WHOLE.width * WHOLE.height;
            for (area, weight) in areas.iter().zip(weights) {
                let size = area.width * area.height;
                assert!((size - weight / total * all).abs() < all * 1e-9, "{area:?}");
                assert!(area.x >= WHOLE.x - 1e-6 && area.y >= WHOLE.y - 1e-6);
                assert!(area.x + area.width <= WHOLE.x + WHOLE.width + 1e-6);
                assert!(area.y + area.height <= WHOLE.y + WHOLE.height + 1e-6);
            }
            for (number, a) in areas.iter().enumerate() {
                for b in &areas[number + 1..] {
                    let x = a.x + a.width <= b.x + 1e-6 || b.x + b.width <= a.x + 1e-6;
                    let y = a.y + a.height <= b.y + 1e-6 || b.y + b.height <= a.y + 1e-6;
                    assert!(x || y, "{a:?} {b:?}");
                }
            }
        }
        assert!(squarify(&[], WHOLE).is_empty());
    }

    /// The paper's example comes out as in the paper: rows of two, two, one, one and one.
    #[test]
    fn cells_are_nearly_square() {
        let whole = Area {
            x: 0.0,
            y: 0.0,
            width: 6.0,
            height: 4.0,
        };
        let areas = squarify(&[6.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0], whole);
        let sides: Vec<String> = areas
            .iter()
            .map(|a| format!("{:.1}x{:.1}", a.width, a.height))
            .collect();
        assert_eq!(
            sides,
            [
                "3.0x2.0", "3.0x2.0", "1.7x2.3", "1.3x2.3", "1.2x1.7", "1.2x1.7", "0.6x1.7"
            ]
        );
    }

    #[test]
    fn names_are_escaped_and_cut_to_their_cells() {
        let cell = |title: &str, bytes| Cell {
            title: title.into(),
            text: "1 object".into(),
            bytes,
            colour: Colour::Blue,
        };
        let odd = "<a href=\"x\">&\u{1}\u{ffff}";
        let cells = [
            cell(odd, 1000),
            cell(&"long".repeat(90), 900),
            cell("tiny", 1),
            cell("tinier", 1),
            cell("nothing", 0),
        ];
        let picture = draw("a & b", &cells, &[(Colour::Grey, "x < y")]);
        assert_eq!(picture, draw("a & b", &cells, &[(Colour::Grey, "x < y")]));
        assert!(picture.contains("&lt;a href=&quot;x&quot;&gt;&amp;\u{fffd}\u{fffd}"));
        assert!(picture.contains("longlong") && picture.contains('…'));
        assert!(!picture.contains("tiny") && !picture.contains("nothing"));
        assert!(
            picture.contains("<title>2 smaller ones</title>"),
            "{picture}"
        );
        assert!(!picture.contains(['\u{1}', '\u{ffff}']));
    }
}
