//! Charts as SVG: axes, lines and nothing that knows what they mean. Colours and line styles are classes, so that the
//! page's style gives them for light, dark and paper. No figure that is not finite is ever drawn.

use std::fmt::Write as _;

use maud::{Markup, html};

/// How large a chart is drawn. Both scale with the page; on a narrow one the letters of the larger grow.
#[derive(Clone, Copy)]
pub(super) enum Size {
    /// Alone in its row.
    Wide,
    /// One of several beside each other.
    Panel,
}

/// A direction of a chart.
pub(super) struct Axis {
    /// What it shows, with its unit.
    pub(super) label: &'static str,
    from: f64,
    to: f64,
    log: bool,
    ticks: Vec<Tick>,
}

struct Tick {
    at: f64,
    text: String,
    /// Left out where there is little room.
    minor: bool,
}

/// A line, in the coordinates of the axes. A `None` breaks it.
pub(super) struct Line {
    pub(super) class: String,
    pub(super) points: Vec<Option<(f64, f64)>>,
    /// Points that are worth a mark, with what a pointer shows there.
    pub(super) dots: Vec<Dot>,
}

/// A mark on a line.
pub(super) struct Dot {
    pub(super) at: (f64, f64),
    pub(super) text: String,
    /// Hollow: a figure that is not to be trusted.
    pub(super) hollow: bool,
}

/// A chart.
pub(super) struct Chart {
    /// Its name in the page, for what refers to it.
    pub(super) id: String,
    pub(super) title: String,
    /// What one who cannot see it should know.
    pub(super) description: String,
    pub(super) size: Size,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// Written across it.
    pub(super) warning: Option<&'static str>,
}

impl Axis {
    /// In equal steps, from zero to what is needed.
    pub(super) fn linear(label: &'static str, to: f64, text: impl Fn(f64) -> String) -> Self {
        let to = if to.is_finite() && to > 0.0 { to } else { 1.0 };
        let step = step(to / 5.0);
        let steps = (to / step - 1e-9).ceil().max(1.0);
        let ticks = (0..=steps as u32).map(|at| f64::from(at) * step);
        let ticks = ticks.map(|at| Tick { at, text: text(at), minor: false }).collect();
        Self { label, from: 0.0, to: steps * step, log: false, ticks }
    }

    /// From zero to exactly there, for time that has an end.
    pub(super) fn until(label: &'static str, to: f64, text: impl Fn(f64) -> String) -> Self {
        let mut axis = Self::linear(label, to, text);
        axis.ticks.retain(|tick| tick.at <= to);
        axis.to = to.max(f64::MIN_POSITIVE);
        axis
    }

    /// In equal ratios, around the values that are above zero.
    pub(super) fn log(
        label: &'static str,
        values: impl Iterator<Item = f64>,
        text: impl Fn(f64) -> String,
    ) -> Self {
        let values = values.filter(|value| value.is_finite() && *value > 0.0);
        let (low, high) = values.fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low > high { (10.0, 1_000.0) } else { (low, high) };
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let mut marks: Vec<f64> = (first..=last)
            .flat_map(|decade| [1.0, 2.0, 5.0].map(|mark| mark * 10_f64.powi(decade)))
            .collect();
        // As close around the values as the marks allow, but never without extent.
        let below = marks.iter().rposition(|mark| *mark <= low * 1.000_001).unwrap_or(0);
        let above = marks.iter().position(|mark| *mark >= high * 0.999_999).unwrap_or(marks.len() - 1);
        marks = marks[below..=above.max(below + 1).min(marks.len() - 1)].to_vec();
        let (from, to) = (marks[0], marks[marks.len() - 1]);
        let crowded = marks.len() > 8;
        let whole = |mark: f64| (mark.log10() - mark.log10().round()).abs() < 1e-9;
        let ticks = marks
            .iter()
            .filter(|mark| !crowded || whole(**mark))
            .map(|mark| Tick { at: *mark, text: text(*mark), minor: !whole(*mark) && marks.len() > 5 })
            .collect();
        Self { label, from, to, log: true, ticks }
    }

    /// The distance to 100 %, by its logarithm: 0%, 90%, 99% … are equally far from each other.
    pub(super) fn nines(label: &'static str) -> Self {
        let half = std::f64::consts::LOG10_2;
        let ticks = [(0.0, "0%"), (half, "50%"), (1.0, "90%"), (2.0, "99%"), (3.0, "99.9%")];
        let ticks = ticks.into_iter().chain([(4.0, "99.99%"), (5.0, "99.999%")]);
        let ticks = ticks.map(|(at, text)| Tick { at, text: text.to_owned(), minor: at == half }).collect();
        Self { label, from: 0.0, to: 5.0, log: false, ticks }
    }

    /// Where a value stands between the ends, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.log { value.max(self.from).log10() } else { value };
        let extent = scale(self.to) - scale(self.from);
        let place = (scale(value) - scale(self.from)) / extent;
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The next larger of 1, 2 and 5 times a power of ten.
fn step(at_least: f64) -> f64 {
    let decade = 10_f64.powf(at_least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|mark| mark * decade)
        .into_iter()
        .find(|s| *s >= at_least * 0.999_999)
        .unwrap_or(decade)
}

/// The drawing area: the edges in the drawing's own units.
struct Area {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Size {
    fn area(self) -> Area {
        match self {
            // The margins leave room for the larger letters of narrow pages.
            Self::Wide => {
                Area { width: 760.0, height: 420.0, left: 84.0, right: 704.0, top: 40.0, bottom: 352.0 }
            }
            Self::Panel => {
                Area { width: 480.0, height: 270.0, left: 70.0, right: 440.0, top: 34.0, bottom: 216.0 }
            }
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Wide => "chart wide",
            Self::Panel => "chart panel",
        }
    }
}

impl Chart {
    /// The chart as an element.
    pub(super) fn draw(&self) -> Markup {
        let area = self.size.area();
        let across = |value: f64| area.left + self.x.place(value) * (area.right - area.left);
        let down = |value: f64| area.bottom - self.y.place(value) * (area.bottom - area.top);
        let middle = (area.left + area.right) / 2.0;
        html! {
            svg class=(self.size.class()) viewBox=(format!("0 0 {} {}", area.width, area.height)) role="img"
                aria-labelledby=(format!("{0}-title {0}-desc", self.id)) {
                title id=(format!("{}-title", self.id)) { (self.title) }
                desc id=(format!("{}-desc", self.id)) { (self.description) }
                @for tick in &self.y.ticks {
                    @let y = down(tick.at);
                    line class="grid" x1=(area.left) x2=(area.right) y1=(short(y)) y2=(short(y)) {}
                    text class=(if tick.minor { "tick minor" } else { "tick" }) x=(area.left - 8.0) y=(short(y))
                        text-anchor="end" dominant-baseline="middle" { (tick.text) }
                }
                @for tick in &self.x.ticks {
                    @let x = across(tick.at);
                    line class="grid" x1=(short(x)) x2=(short(x)) y1=(area.top) y2=(area.bottom) {}
                    text class=(if tick.minor { "tick minor across" } else { "tick" }) x=(short(x)) y=(area.bottom + 10.0)
                        text-anchor="middle" dominant-baseline="hanging" { (tick.text) }
                }
                text class="axis" x="4" y=(area.top - 12.0) { (self.y.label) }
                text class="axis" x=(middle) y=(area.height - 6.0) text-anchor="middle" { (self.x.label) }
                @if let Some(warning) = self.warning {
                    text class="warning" x=(middle) y=((area.top + area.bottom) / 2.0) text-anchor="middle" {
                        (warning)
                    }
                }
                @for line in &self.lines {
                    @let (path, lone) = path(&line.points, across, down);
                    @if !path.is_empty() { path class=(format!("line {}", line.class)) d=(path) {} }
                    // A line of one point is none; it is a dot.
                    @for (x, y) in lone {
                        circle class=(format!("dot {}", line.class)) cx=(short(x)) cy=(short(y)) r="3" {}
                    }
                    @for dot in &line.dots {
                        circle class=(format!("dot {}{}", line.class, if dot.hollow { " hollow" } else { "" }))
                            cx=(short(across(dot.at.0))) cy=(short(down(dot.at.1))) r="3.5" {
                            title { (dot.text) }
                        }
                    }
                }
            }
        }
    }
}

/// The path through points, and the points that have no neighbour.
fn path(
    points: &[Option<(f64, f64)>],
    across: impl Fn(f64) -> f64,
    down: impl Fn(f64) -> f64,
) -> (String, Vec<(f64, f64)>) {
    let finite = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
    let (mut path, mut lone) = (String::new(), Vec::new());
    for piece in points.split(|point| point.as_ref().filter(finite).is_none()) {
        let piece: Vec<_> = piece.iter().flatten().map(|(x, y)| (across(*x), down(*y))).collect();
        if let [point] = piece[..] {
            lone.push(point);
            continue;
        }
        for (at, (x, y)) in piece.into_iter().enumerate() {
            let _ = write!(path, "{}{} {}", if at == 0 { "M" } else { "L" }, short(x), short(y));
        }
    }
    (path, lone)
}

/// A coordinate to a tenth of a unit: nobody sees more.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_an_extent_whatever_the_values() {
        for values in
            [vec![], vec![0.0], vec![f64::NAN], vec![7.0], vec![10.0], vec![1.0, 6e7], vec![99.0, 101.0]]
        {
            let axis = Axis::log("", values.iter().copied(), |at| at.to_string());
            assert!(axis.from > 0.0 && axis.to > axis.from && axis.ticks.len() >= 2, "{values:?}");
            for value in values.into_iter().filter(|value| *value > 0.0) {
                assert!(axis.from <= value * 1.01 && value * 0.99 <= axis.to, "{value}");
            }
        }
        for to in [0.0, f64::NAN, 1.0, 3.0, 17.0, 1e9] {
            let axis = Axis::linear("", to, |at| at.to_string());
            assert!(axis.to > 0.0 && (2..=7).contains(&axis.ticks.len()), "{to}");
        }
    }

    #[test]
    fn lines_break_where_nothing_is_known() {
        let points = [Some((0.0, 0.0)), Some((1.0, 1.0)), None, Some((3.0, f64::NAN)), Some((4.0, 4.0))];
        let (path, lone) = path(&points, |x| x, |y| y);
        assert_eq!((path.as_str(), lone), ("M0 0L1 1", vec![(4.0, 4.0)]));
    }
}
