//! One picture that is being drawn: its marks one after the other, each with a class and presentation attributes.

use std::fmt::Write;

use super::axis::number;
use super::palette::Ink;
use super::text::escaped;

/// What a reader who does not see the picture is told.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Tells the picture from others of its page: letters, digits and `-`.
    pub id: String,
    /// Its name.
    pub title: String,
    /// What is to be seen.
    pub description: String,
}

/// Which part of a text stands at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// A picture that grows by marks; later ones lie over earlier ones.
#[derive(Debug)]
pub struct Picture {
    svg: String,
}

/// Distance of a text's base line below its middle, for its size of 12.
const BELOW_MIDDLE: f64 = 4.0;

impl Picture {
    /// An empty picture of this width and height.
    pub fn new(about: &About, [width, height]: [f64; 2]) -> Self {
        let (width, height) = (number(width), number(height));
        let id: String = (about.id.chars())
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"picture\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" \
             width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" \
             font-size=\"12\">\n<title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n",
            escaped(&about.title),
            escaped(&about.description)
        );
        let mut picture = Self { svg };
        picture.raw(&format!(
            "<rect class=\"paper\" width=\"{width}\" height=\"{height}\" fill=\"{}\"/>",
            Ink::Paper.colour()
        ));
        picture
    }

    fn raw(&mut self, element: &str) {
        self.svg.push_str(element);
        self.svg.push('\n');
    }

    /// A line of a path's commands. `tip` is what a pointer over it is told.
    pub fn path(&mut self, ink: Ink, commands: &str, width: f64, tip: Option<&str>) {
        let tag = format!(
            "<path class=\"{}\" d=\"{commands}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"",
            ink.class(),
            ink.colour(),
            number(width)
        );
        self.with_tip("path", tag, tip);
    }

    /// A filled shape of a path's commands.
    pub fn shape(&mut self, ink: Ink, commands: &str, tip: Option<&str>) {
        let tag = format!(
            "<path class=\"filled {}\" d=\"{commands}\" fill=\"{}\"",
            ink.class(),
            ink.colour()
        );
        self.with_tip("path", tag, tip);
    }

    /// A straight line, broken where `dashed`.
    pub fn line(&mut self, ink: Ink, from: [f64; 2], to: [f64; 2], dashed: bool) {
        let [x1, y1, x2, y2] = [from[0], from[1], to[0], to[1]].map(number);
        let dashes = if dashed {
            " stroke-dasharray=\"5 4\""
        } else {
            ""
        };
        self.raw(&format!(
            "<line class=\"{}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"{}\"{dashes}/>",
            ink.class(),
            ink.colour()
        ));
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, ink: Ink, at: [f64; 2], size: [f64; 2], tip: Option<&str>) {
        self.rectangle_of(ink.class(), ink.colour(), at, size, tip);
    }

    /// A filled rectangle of a colour that stands for a number, with a class that says which.
    pub fn rectangle_of(
        &mut self,
        class: &str,
        colour: &str,
        at: [f64; 2],
        size: [f64; 2],
        tip: Option<&str>,
    ) {
        let [x, y, width, height] = [at[0], at[1], size[0], size[1]].map(number);
        let tag = format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\""
        );
        self.with_tip("rect", tag, tip);
    }

    /// A filled circle.
    pub fn circle(&mut self, ink: Ink, at: [f64; 2], radius: f64, tip: Option<&str>) {
        let [x, y, radius] = [at[0], at[1], radius].map(number);
        let tag = format!(
            "<circle class=\"{}\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" fill=\"{}\"",
            ink.class(),
            ink.colour()
        );
        self.with_tip("circle", tag, tip);
    }

    fn with_tip(&mut self, name: &str, mut tag: String, tip: Option<&str>) {
        let _ = match tip {
            None => write!(tag, "/>"),
            Some(tip) => write!(tag, "><title>{}</title></{name}>", escaped(tip)),
        };
        self.raw(&tag);
    }

    /// A line of text, its middle at the height of `at`.
    pub fn text(&mut self, ink: Ink, anchor: Anchor, at: [f64; 2], text: &str) {
        self.spans(ink, anchor, at, &[(text, false)]);
    }

    /// A line of text of several parts, some of them bold. A part whose script runs from right to left leaves the others
    /// where they are.
    pub fn spans(&mut self, ink: Ink, anchor: Anchor, at: [f64; 2], parts: &[(&str, bool)]) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let mut tag = format!(
            "<text class=\"{}\" x=\"{}\" y=\"{}\" fill=\"{}\"{anchor} xml:space=\"preserve\">",
            ink.class(),
            number(at[0]),
            number(at[1] + BELOW_MIDDLE),
            ink.colour()
        );
        for (text, bold) in parts {
            let weight = if *bold { " font-weight=\"bold\"" } else { "" };
            let _ = write!(
                tag,
                "<tspan unicode-bidi=\"isolate\"{weight}>{}</tspan>",
                escaped(text)
            );
        }
        tag.push_str("</text>");
        self.raw(&tag);
    }

    /// A text from below to above, its middle at a place.
    pub fn upright(&mut self, ink: Ink, at: [f64; 2], text: &str) {
        let [x, y] = at.map(number);
        self.raw(&format!(
            "<text class=\"{}\" x=\"{x}\" y=\"{y}\" fill=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 {x} {y})\">{}</text>",
            ink.class(),
            ink.colour(),
            escaped(text)
        ));
    }

    /// The marks that `draw` makes, without what lies outside of a rectangle; places count from its corner.
    pub fn within(&mut self, at: [f64; 2], size: [f64; 2], draw: impl FnOnce(&mut Self)) {
        let [x, y, width, height] = [at[0], at[1], size[0], size[1]].map(number);
        self.raw(&format!(
            "<svg x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" overflow=\"hidden\">"
        ));
        draw(self);
        self.raw("</svg>");
    }

    /// The text of the picture.
    pub fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}
