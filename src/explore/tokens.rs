//! Tokens of a text, each shaded by its activation in as many steps as there are classes for: the policy of the pages forbids
//! a colour of its own to each.

use std::fmt::Write;

use polysema_udfs::svg::escaped;

use super::show::Visible;

/// Steps of a shade.
const STEPS: f64 = 11.0;

/// The values that the darkest shades stand for: the largest activation, and the least of a neuron that has examples of those.
#[derive(Debug, Clone, Copy)]
pub struct Shades {
    /// The largest.
    pub most: f64,
    /// The least; none where values below zero are not shaded.
    pub least: Option<f64>,
}

impl Shades {
    /// The class of an activation: `a1` to `a11`, and `n1` to `n11` below zero; none of what is not shaded.
    pub fn class(&self, activation: f64) -> Option<String> {
        let step = |part: f64| (part.clamp(0.0, 1.0) * STEPS).round() as u8;
        let (letter, step) = match self.least {
            _ if activation > 0.0 && self.most > 0.0 => ('a', step(activation / self.most)),
            Some(least) if activation < 0.0 && least < 0.0 => ('n', step(activation / least)),
            _ => return None,
        };
        (step > 0).then(|| format!("{letter}{step}"))
    }
}

/// Adds a token as HTML: a span of its shade, a mark where it is a key token.
pub fn push_token(
    html: &mut String,
    token: Option<&str>,
    value: Option<f64>,
    is_key: bool,
    id: Option<&str>,
    shades: Shades,
) {
    let class = value.and_then(|value| shades.class(value));
    let class = class.map_or(String::new(), |class| format!(" class=\"{class}\""));
    let shown = Visible(token.unwrap_or("–")).to_string();
    let tag = if is_key { "mark" } else { "span" };
    let id = id.map_or(String::new(), |id| format!(" id=\"{id}\""));
    let _ = write!(html, "<{tag}{id}{class}>{}</{tag}>", escaped(&shown));
}

/// A text of tokens as HTML, of a class that begins with `text`: each token a span of its shade, the key token a mark; values,
/// as far as they are known, in an attribute for the script.
pub fn shaded(
    class: &str,
    tokens: &[Option<String>],
    activations: &[Option<f64>],
    key: Option<usize>,
    shades: Shades,
) -> String {
    let values: Vec<String> = activations
        .iter()
        .map(|value| match value {
            None => String::new(),
            Some(value) if *value == 0.0 => "0".to_string(),
            Some(value) => format!("{value:.2}"),
        })
        .collect();
    let mut html = format!(
        "<p class=\"{class}\" dir=\"auto\" data-values=\"{}\">",
        values.join(" ")
    );
    for (at, token) in tokens.iter().enumerate() {
        let value = activations.get(at).copied().flatten();
        push_token(
            &mut html,
            token.as_deref(),
            value,
            key == Some(at),
            None,
            shades,
        );
    }
    html.push_str("</p>");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_are_steps_and_tokens_stay_text() {
        let shades = Shades {
            most: 2.0,
            least: None,
        };
        let classes = [0.0, 0.05, 1.0, 2.0, 9.0, -1.0].map(|a| shades.class(a).unwrap_or_default());
        assert_eq!(classes, ["", "", "a6", "a11", "a11", ""]);
        let signed = Shades {
            most: 2.0,
            least: Some(-1.0),
        };
        assert_eq!(signed.class(-0.5).as_deref(), Some("n6"));
        let tokens = ["<script>", "\u{202e}\"><img onerror=x>", "\n"].map(|t| Some(t.to_string()));
        let html = shaded(
            "text",
            &tokens,
            &[Some(0.0), Some(2.0), None],
            Some(1),
            shades,
        );
        let expected = "<p class=\"text\" dir=\"auto\" data-values=\"0 2.00 \"><span>&lt;script&gt;</span>\
                        <mark class=\"a11\">\\u{202e}&quot;&gt;&lt;img onerror=x&gt;</mark><span>↵</span></p>";
        assert_eq!(html, expected);
    }
}
