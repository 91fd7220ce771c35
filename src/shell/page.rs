//! A report as a page: one HTML file that needs nothing from elsewhere, or markdown with its pictures beside it.
//!
//! Every text is escaped. The page's policy allows its own style sheet, by its hash, and nothing else: no script, no address.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::array::RecordBatch;
use polysema_udfs::svg;
use ring::digest;

use super::format::value::{Lists, display, is_number};
use super::format::{Format, Layout, WriteError};
use super::pictures::Drawn;

/// The name of a picture's file, and what is in it.
pub type PictureFile = (String, String);

/// What a report says.
#[derive(Debug)]
pub struct ReportPage {
    /// Its question.
    pub title: String,
    /// What it is about, below the question.
    pub about: String,
    /// Its answers.
    pub sections: Vec<Section>,
    /// Where the numbers come from: names and values.
    pub provenance: Vec<(String, String)>,
}

/// One answer.
#[derive(Debug)]
pub struct Section {
    /// What it is called; nothing where it is the only one.
    pub heading: Option<String>,
    /// The query.
    pub sql: String,
    /// Its rows, not more than a page shows.
    pub rows: RecordBatch,
    /// How many there are.
    pub n_rows: usize,
    /// The pictures of the rows.
    pub pictures: Vec<Drawn>,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1f2328;--faint:#59636e;--grid:#d8dee4;--accent:#cf222e;--paper:#fff;--code:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--faint:#9198a1;--grid:#3d444d;--accent:#ff7b72;--paper:#0d1117;--code:#161b22}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--paper);max-width:64rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.2rem;margin-top:2rem}
p.about,figcaption,footer{color:var(--faint)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--faint)}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--grid);text-align:left;vertical-align:top;white-space:pre-wrap}
th{white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap}
figure{margin:1rem 0}
pre{background:var(--code);padding:.75rem;overflow-x:auto;font-size:.85rem}
summary{cursor:pointer;color:var(--faint)}
@media print{details::details-content{content-visibility:visible;display:block}body{max-width:none;padding:0}figure,tr{break-inside:avoid}.wide{overflow:visible}pre{white-space:pre-wrap}}
";

impl ReportPage {
    /// The page as one HTML file.
    pub fn html(&self) -> Result<String, WriteError> {
        let style = [STYLE, svg::STYLE].concat();
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
        let title = svg::escaped(&self.title);
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
             base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        );
        let _ = writeln!(out, "<p class=\"about\">{}</p>", svg::escaped(&self.about));
        for section in &self.sections {
            section.html(&mut out)?;
        }
        out.push_str("</main>\n<footer>\n<h2>Provenance</h2>\n<div class=\"wide\"><table>\n");
        for (name, value) in &self.provenance {
            let (name, value) = (svg::escaped(name), svg::escaped(value));
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>"
            );
        }
        out.push_str("</table></div>\n</footer>\n</body>\n</html>\n");
        Ok(out)
    }

    /// The page as markdown, with the pictures as files whose names begin with `stem`.
    pub fn markdown(&self, stem: &str) -> Result<(String, Vec<PictureFile>), WriteError> {
        let (mut out, mut files) = (String::new(), vec![]);
        let _ = write!(out, "# {}\n\n{}\n", plain(&self.title), plain(&self.about));
        for section in &self.sections {
            if let Some(heading) = &section.heading {
                let _ = write!(out, "\n## {}\n", plain(heading));
            }
            for picture in &section.pictures {
                let name = format!("{stem}-{}.svg", files.len() + 1);
                let of = section.heading.as_deref().unwrap_or(&self.title);
                let _ = write!(out, "\n![{}]({})\n", plain(of), name.replace(' ', "%20"));
                if !picture.caption.is_empty() {
                    let _ = write!(out, "\n{}\n", plain(&picture.caption));
                }
                files.push((name, picture.svg.clone()));
            }
            if section.has_table() {
                let layout = Layout::plain(Format::Markdown);
                let mut writer = layout.writer(&section.rows.schema())?;
                let mut table = vec![];
                writer.write(&section.rows, &mut table)?;
                writer.finish(&mut table)?;
                let _ = write!(out, "\n{}", String::from_utf8_lossy(&table));
                if let Some(more) = section.more() {
                    let _ = write!(out, "\n{more}\n");
                }
            }
            let _ = write!(out, "\n```sql\n{}\n```\n", section.sql.trim());
        }
        out.push_str("\n## Provenance\n\n| | |\n|---|---|\n");
        for (name, value) in &self.provenance {
            let _ = writeln!(
                out,
                "| {} | {} |",
                plain(name),
                plain(value).replace('|', "\\|")
            );
        }
        Ok((out, files))
    }
}

impl Section {
    /// Whether its rows say more than its pictures.
    fn has_table(&self) -> bool {
        self.pictures.is_empty() || self.pictures.iter().any(|picture| !picture.is_all)
    }

    /// What is said of rows that are left out.
    fn more(&self) -> Option<String> {
        let shown = self.rows.num_rows();
        (shown < self.n_rows).then(|| format!("The first {shown} of {} rows.", self.n_rows))
    }

    fn html(&self, out: &mut String) -> Result<(), WriteError> {
        out.push_str("<section>\n");
        if let Some(heading) = &self.heading {
            let _ = writeln!(out, "<h2>{}</h2>", svg::escaped(heading));
        }
        for picture in &self.pictures {
            let _ = write!(out, "<figure class=\"wide\">\n{}", picture.svg);
            if !picture.caption.is_empty() {
                let caption = svg::escaped(&picture.caption);
                let _ = writeln!(out, "<figcaption>{caption}</figcaption>");
            }
            out.push_str("</figure>\n");
        }
        if self.has_table() {
            self.table(out)?;
        }
        let sql = svg_lines(&self.sql);
        let _ = writeln!(
            out,
            "<details><summary>SQL</summary><pre>{sql}</pre></details>\n</section>"
        );
        Ok(())
    }

    fn table(&self, out: &mut String) -> Result<(), WriteError> {
        let schema = self.rows.schema();
        let class = |i: usize| match is_number(schema.field(i).data_type()) {
            true => " class=\"n\"",
            false => "",
        };
        out.push_str("<div class=\"wide\"><table>\n");
        if let Some(more) = self.more() {
            let _ = writeln!(out, "<caption>{more}</caption>");
        }
        out.push_str("<thead><tr>");
        for (i, field) in schema.fields().iter().enumerate() {
            let name = svg::escaped(field.name());
            let _ = write!(out, "<th scope=\"col\"{}>{name}</th>", class(i));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for row in 0..self.rows.num_rows() {
            out.push_str("<tr>");
            for (i, column) in self.rows.columns().iter().enumerate() {
                let value = svg::escaped(&display(column, row, Lists::Whole)?);
                let _ = write!(out, "<td{}><bdi>{value}</bdi></td>", class(i));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody>\n</table></div>\n");
        if self.rows.num_rows() == 0 {
            out.push_str("<p class=\"about\">no rows</p>\n");
        }
        Ok(())
    }
}

/// Text of several lines, escaped.
fn svg_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim().lines().map(svg::escaped).collect();
    lines.join("\n")
}

/// A line of markdown that is no markup.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for character in svg::visible(text).chars() {
        if "\\`*_[]<>#&".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{ArrayRef, Float64Array, StringArray};
    use std::sync::Arc;

    fn page() -> ReportPage {
        let token: ArrayRef = Arc::new(StringArray::from(vec!["<script>\u{202e}", "a|b"]));
        let value: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 2.0]));
        let rows = RecordBatch::try_from_iter([("token", token), ("x", value)]).expect("columns");
        ReportPage {
            title: "What <is> it?".to_string(),
            about: "of run 'a'".to_string(),
            sections: vec![Section {
                heading: Some("Tokens".to_string()),
                sql: "SELECT token, x\nFROM t WHERE x < 3".to_string(),
                n_rows: 7,
                rows,
                pictures: vec![Drawn {
                    svg: "<svg></svg>\n".to_string(),
                    caption: "Two <bars>.".to_string(),
                    is_all: false,
                }],
            }],
            provenance: vec![("model".to_string(), "m&m".to_string())],
        }
    }

    #[test]
    fn the_page_is_text_and_one_style_that_its_policy_names() {
        let html = page().html().expect("a page");
        for text in [
            "<h1>What &lt;is&gt; it?</h1>",
            "<bdi>&lt;script&gt;\\u{202e}</bdi>",
            "<td class=\"n\"><bdi>0.5</bdi></td>",
            "<caption>The first 2 of 7 rows.</caption>",
            "<pre>SELECT token, x\nFROM t WHERE x &lt; 3</pre>",
            "<figure class=\"wide\">\n<svg></svg>\n<figcaption>Two &lt;bars&gt;.</figcaption>\n</figure>",
            "m&amp;m",
        ] {
            assert!(html.contains(text), "{text}: {html}");
        }
        let style = html
            .split("<style>")
            .nth(1)
            .and_then(|t| t.split("</style>").next());
        let style = style.expect("a style sheet");
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
        assert!(html.contains(&format!("style-src 'sha256-{hash}'")));
        assert!(!html.contains("style=") && !html.contains("<script") && !html.contains("http:"));
    }

    #[test]
    fn markdown_has_its_pictures_beside_it() {
        let (text, files) = page().markdown("a report").expect("a page");
        assert_eq!(
            files,
            [("a report-1.svg".to_string(), "<svg></svg>\n".to_string())]
        );
        assert!(text.starts_with("# What \\<is\\> it?\n"), "{text}");
        assert!(text.contains("![Tokens](a%20report-1.svg)"), "{text}");
        assert!(
            text.contains("a\\|b") && text.contains("```sql\nSELECT token, x\n"),
            "{text}"
        );
    }
}
