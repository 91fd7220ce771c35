//! Colours by what they stand for, each with a contrast of at least 3 to white and to a dark page.

/// What a mark or a text is, which says its class and its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Text that is read.
    Text,
    /// Text and lines that only help: scales, notes, branches that join clusters.
    Faint,
    /// Lines behind the marks.
    Grid,
    /// What the picture is about, where all of it is one thing.
    Mark,
    /// What is singled out, such as a cut.
    Accent,
    /// What lies behind everything.
    Paper,
    /// A feature cluster by its number; one of a single member is grey.
    Cluster {
        /// Its number.
        number: u32,
        /// Its members.
        size: u32,
    },
}

/// Okabe and Ito's colours but black, the light ones darkened.
const CLUSTERS: [(&str, &str); 7] = [
    ("cluster c0", "#0072b2"),
    ("cluster c1", "#d55e00"),
    ("cluster c2", "#009e73"),
    ("cluster c3", "#c46a9a"),
    ("cluster c4", "#b97f00"),
    ("cluster c5", "#3f97cc"),
    ("cluster c6", "#8c8500"),
];

impl Ink {
    /// The class of its marks.
    pub fn class(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Faint => "faint",
            Self::Grid => "grid",
            Self::Mark => "mark",
            Self::Accent => "accent",
            Self::Paper => "paper",
            Self::Cluster { .. } => self.cluster().0,
        }
    }

    /// Its colour on white.
    pub fn colour(self) -> &'static str {
        match self {
            Self::Text => "#1f2328",
            Self::Faint => "#6e7781",
            Self::Grid => "#d8dee4",
            Self::Mark => "#0072b2",
            Self::Accent => "#cf222e",
            Self::Paper => "#ffffff",
            Self::Cluster { .. } => self.cluster().1,
        }
    }

    fn cluster(self) -> (&'static str, &'static str) {
        match self {
            Self::Cluster { number, size } if size > 1 => CLUSTERS
                .get(number as usize)
                .copied()
                .unwrap_or(("cluster other", "#7d7d7d")),
            _ => ("cluster single", "#7d7d7d"),
        }
    }
}

/// What a page says of its pictures, for light and dark: the colours of clusters hold for both.
pub const STYLE: &str = "\
.picture{max-width:100%;height:auto}
.picture .paper{fill:none}
.picture text.text,.picture rect.text,.picture circle.text{fill:var(--text,#1f2328)}
.picture path.text,.picture line.text{stroke:var(--text,#1f2328)}
.picture text.faint{fill:var(--faint,#59636e)}
.picture path.faint,.picture line.faint{stroke:var(--faint,#6e7781)}
.picture path.grid,.picture line.grid{stroke:var(--grid,#d8dee4)}
.picture text.accent{fill:var(--accent,#cf222e)}
.picture path.accent,.picture line.accent{stroke:var(--accent,#cf222e)}
";
