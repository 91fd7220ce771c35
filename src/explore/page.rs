//! A page and the forms it is given in: HTML in the frame of all pages, its panels' rows as JSON or as Arrow's stream; with a
//! tag of its content, so that what a browser has is not sent again.

use std::io::Write;

use askama::{DynTemplate, Template};
use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
    RETRY_AFTER, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use datafusion::common::internal_datafusion_err;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::assets;
use super::panel::Panel;
use super::publish::{SitePage, WebSite};
use super::trouble::Trouble;
use crate::web::forms::Form;
use crate::web::hosts::text;

/// A smaller answer is not worth the work.
const WORTH_PACKING: usize = 1024;
/// What stands around a time in a page, which its tag leaves out: it differs each time.
const TIME: [&str; 2] = ["<span class=\"ms\">", "</span>"];

/// A page before it has a form.
pub struct WebPage {
    /// What the browser's tab says.
    pub title: String,
    /// The way to it: names and addresses, from the store down; the last is the page itself.
    pub crumbs: Vec<(String, String)>,
    /// What stands in the frame.
    pub body: Box<dyn DynTemplate + Send>,
    /// Its data.
    pub panels: Vec<Panel>,
    /// Whether it asks to be read again soon, since something of it is still computed.
    pub is_unfinished: bool,
}

/// The way from the store over a run to what lies below its address: names and paths.
pub fn crumbs(run: &str, below: &[(&str, &str)]) -> Vec<(String, String)> {
    let place = format!("/runs/{run}");
    let below = below
        .iter()
        .map(|(name, path)| ((*name).to_string(), format!("{place}{path}")));
    let above = [
        ("store".to_string(), "/".to_string()),
        (run.to_string(), place.clone()),
    ];
    above.into_iter().chain(below).collect()
}

/// The way to a neuron, whose own page takes `along`, and to what lies below it, if it is that.
pub fn crumbs_of_neuron(
    run: &str,
    layer: i32,
    neuron: i32,
    along: &str,
    last: Option<&str>,
) -> Vec<(String, String)> {
    let place = format!("/layers/{layer}");
    let [of_layer, of_neuron] = [format!("layer {layer}"), format!("neuron {neuron}")];
    let own = format!("{place}/neurons/{neuron}{along}");
    let mut below = vec![(of_layer.as_str(), place.as_str()), (&of_neuron, &own)];
    below.extend(last.map(|name| (name, "")));
    crumbs(run, &below)
}

/// What a request comes to.
pub enum Reached {
    /// A page.
    Page(WebPage),
    /// Another address.
    Elsewhere(String),
    /// A page that says itself why its data are not to be had, and what those who ask for them are told.
    Explained(WebPage, StatusCode, Trouble),
    /// A picture of this kind, which has no data of its own.
    Picture(&'static str, String),
}

impl From<WebPage> for Reached {
    fn from(page: WebPage) -> Self {
        Self::Page(page)
    }
}

impl Reached {
    /// A page, which may say itself why its data are not to be had.
    pub fn explained(page: WebPage, refused: Option<(StatusCode, Trouble)>) -> Self {
        match refused {
            Some((status, trouble)) => Self::Explained(page, status, trouble),
            None => Self::Page(page),
        }
    }
}

/// The frame of all pages.
#[derive(Template)]
#[template(path = "frame.html")]
struct FrameTemplate<'a> {
    title: &'a str,
    crumbs: &'a [(String, String)],
    main: &'a str,
    run: Option<&'a str>,
    /// Where a word is looked for, in a run's pages.
    search: Option<String>,
    is_unfinished: bool,
    style: &'a str,
    script: &'a str,
    version: &'a str,
    /// Of a page of a site: the way to its folder, and the script that stands for a server.
    site: Option<(&'a str, &'a str)>,
}

/// What a request says about the form of its answer.
pub(super) struct WantedForm {
    pub form: Option<Form>,
    /// The panel whose rows alone are asked for.
    pub panel: Option<String>,
    pub heads: HeaderMap,
}

impl WantedForm {
    /// The answer to a request.
    pub fn answer(&self, reached: Result<Reached, Trouble>) -> Response {
        let answered = reached.and_then(|reached| match reached {
            Reached::Elsewhere(address) => elsewhere(&address),
            Reached::Page(page) => self.page(&page, StatusCode::OK),
            Reached::Explained(page, status, _) if self.form.is_none() => self.page(&page, status),
            Reached::Picture(kind, svg) if self.form.is_none() => {
                self.sent(StatusCode::OK, kind, svg.into_bytes())
            }
            Reached::Picture(..) => Err(Trouble::asked(
                "the address of a picture is required, got one that ends in .json or .arrow: its neuron has the data",
            )),
            Reached::Explained(.., trouble) => Err(trouble),
        });
        answered.unwrap_or_else(|trouble| self.trouble(trouble))
    }

    fn page(&self, page: &WebPage, status: StatusCode) -> Result<Response, Trouble> {
        let (kind, bytes) = match self.form {
            None if self.panel.is_some() => {
                return Err(Trouble::asked(
                    "an address that ends in .json or .arrow is required with panel, got a page's",
                ));
            }
            None => ("text/html; charset=utf-8", html(page)?.into_bytes()),
            // Half of the rows would be taken for all.
            Some(_) if page.is_unfinished && !self.is_there(&page.panels) => {
                return Err(Trouble::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "rows that are there are required, got some that are still computed: ask again",
                ));
            }
            Some(form) => (form.kind(), self.data(form, &page.panels)?),
        };
        self.sent(status, kind, bytes)
    }

    /// An answer with the tag of its content, which is left out where the reader has it.
    fn sent(&self, status: StatusCode, kind: &str, bytes: Vec<u8>) -> Result<Response, Trouble> {
        let tag = tag(&bytes);
        let known = text(&self.heads, &IF_NONE_MATCH).unwrap_or_default();
        let is_known = known.split(',').any(|known| known.trim() == tag);
        let mut response = match is_known && status == StatusCode::OK {
            true => plain(StatusCode::NOT_MODIFIED, None, vec![]),
            false => self.packed(status, kind, bytes)?,
        };
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(ETAG, tag);
        }
        Ok(response)
    }

    /// Whether a panel is asked for that is among these.
    fn is_there(&self, panels: &[Panel]) -> bool {
        let asked = self.panel.as_ref();
        asked.is_some_and(|id| panels.iter().any(|panel| panel.id == id))
    }

    /// The rows of the panels: of all by their names, or of the one that is asked for.
    fn data(&self, form: Form, panels: &[Panel]) -> Result<Vec<u8>, Trouble> {
        let panel = match &self.panel {
            Some(id) => Some(panels.iter().find(|panel| panel.id == id).ok_or_else(|| {
                let known: Vec<_> = panels.iter().map(|panel| panel.id).collect();
                Trouble::new(
                    StatusCode::NOT_FOUND,
                    format!(
                        "one of the panels {} is required, got '{id}'",
                        known.join(", ")
                    ),
                )
            })?),
            // A stream has rows of one kind.
            None if form != Form::Json => panels.first(),
            None => None,
        };
        if let Some(panel) = panel {
            return rows(form, panel);
        }
        let mut bytes = b"{".to_vec();
        for (at, panel) in panels.iter().enumerate() {
            let head = serde_json::json!({
                "title": panel.title, "run": panel.answered.run, "sql": panel.answered.sql
            });
            let head = head.to_string();
            let open = head.trim_end_matches('}');
            let comma = if at == 0 { "" } else { ",\n" };
            bytes.extend(format!("{comma}\"{}\": {open},\"rows\": ", panel.id).bytes());
            bytes.extend(rows(form, panel)?);
            bytes.extend(b"}");
        }
        bytes.extend(b"}\n");
        Ok(bytes)
    }

    fn trouble(&self, trouble: Trouble) -> Response {
        let (status, wait) = (
            trouble.status,
            trouble.status == StatusCode::SERVICE_UNAVAILABLE,
        );
        let (kind, bytes) = match self.form {
            Some(_) => {
                let known: Vec<_> = trouble.known.iter().map(|(name, _)| name).collect();
                let body = serde_json::json!({"error": trouble.message, "known": known});
                ("application/json", format!("{body}\n").into_bytes())
            }
            None => {
                let page = WebPage {
                    title: reason(status).to_string(),
                    crumbs: vec![("store".into(), "/".into())],
                    body: Box::new(TroubleTemplate(trouble)),
                    panels: vec![],
                    is_unfinished: false,
                };
                // The frame and the sentence are written without the store.
                let html = html(&page).unwrap_or_default();
                ("text/html; charset=utf-8", html.into_bytes())
            }
        };
        let mut response = plain(status, Some(kind), bytes);
        if wait {
            let seconds = HeaderValue::from_static("5");
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }

    fn packed(&self, status: StatusCode, kind: &str, bytes: Vec<u8>) -> Result<Response, Trouble> {
        let takes = text(&self.heads, &ACCEPT_ENCODING).unwrap_or_default();
        let takes = takes.split(',').any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            parts.next() == Some("gzip") && parts.next() != Some("q=0")
        });
        if !takes || bytes.len() < WORTH_PACKING {
            return Ok(plain(status, Some(kind), bytes));
        }
        let packed = gzipped(&bytes, Compression::fast())?;
        let mut response = plain(status, Some(kind), packed);
        let coding = HeaderValue::from_static("gzip");
        response.headers_mut().insert(CONTENT_ENCODING, coding);
        Ok(response)
    }
}

/// A trouble as a page.
#[derive(Template)]
#[template(path = "trouble.html")]
struct TroubleTemplate(Trouble);

impl TroubleTemplate {
    fn reason(&self) -> &'static str {
        reason(self.0.status)
    }
}

fn reason(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "Not in this store",
        StatusCode::BAD_REQUEST => "Not a question the explorer knows",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => "Not now",
        StatusCode::INTERNAL_SERVER_ERROR => "A fault of the explorer",
        other => other.canonical_reason().unwrap_or("Refused"),
    }
}

/// Bytes as a gzip file.
pub(super) fn gzipped(bytes: &[u8], level: Compression) -> Result<Vec<u8>, Trouble> {
    let mut gzip = GzEncoder::new(vec![], level);
    let written = gzip.write_all(bytes).and_then(|()| gzip.finish());
    written.map_err(|error| internal_datafusion_err!("gzip: {error}").into())
}

/// A page of a site, its links led to the site's files, without times: the same run is the same site.
pub(super) fn site_html(page: &WebPage, site: &WebSite, at: SitePage) -> Result<String, Trouble> {
    let html = framed(page, Some(at.root()))?;
    Ok(site.relinked(&timeless(&html).collect::<String>(), at.root()))
}

/// A page without its times, in parts.
fn timeless(html: &str) -> impl Iterator<Item = &str> {
    html.split(TIME[0]).enumerate().map(|(at, part)| match at {
        0 => part,
        _ => part.split_once(TIME[1]).map_or("", |(_, after)| after),
    })
}

fn html(page: &WebPage) -> Result<String, Trouble> {
    framed(page, None)
}

fn framed(page: &WebPage, root: Option<&str>) -> Result<String, Trouble> {
    let failed = |error: askama::Error| Trouble::from(internal_datafusion_err!("page: {error}"));
    let main = page.body.dyn_render().map_err(failed)?;
    let run = (page.crumbs.get(1)).filter(|(_, address)| address.starts_with("/runs/"));
    let run = run.map(|(name, _)| name.as_str());
    let asset = |asset: &assets::Asset| match root {
        Some(root) => format!("{root}{}", asset.file()),
        None => asset.address().to_string(),
    };
    let frame = FrameTemplate {
        title: &page.title,
        crumbs: &page.crumbs,
        main: &main,
        run,
        search: match root {
            Some(root) => Some(format!("{root}{}", SitePage::Search.file())),
            None => run.map(|run| format!("/runs/{run}/search")),
        },
        is_unfinished: page.is_unfinished,
        style: &asset(&assets::STYLE),
        script: &asset(&assets::SCRIPT),
        version: env!("CARGO_PKG_VERSION"),
        site: root.map(|root| (root, assets::PUBLISHED.file())),
    };
    frame.render().map_err(failed)
}

fn rows(form: Form, panel: &Panel) -> Result<Vec<u8>, Trouble> {
    let batch = &panel.answered.rows;
    let mut writer = form.writer(&batch.schema())?;
    let mut bytes = writer.write(batch)?;
    bytes.extend(writer.finish()?);
    Ok(bytes)
}

/// The tag of a content, which is the same where only times differ.
fn tag(bytes: &[u8]) -> String {
    let mut hash = blake3::Hasher::new();
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            for part in timeless(text) {
                hash.update(part.as_bytes());
            }
        }
        // Arrow's, in which there are no times.
        Err(_) => {
            hash.update(bytes);
        }
    }
    format!("W/\"{}\"", &hash.finalize().to_hex()[..32])
}

fn elsewhere(address: &str) -> Result<Response, Trouble> {
    let location = HeaderValue::from_str(address)
        .map_err(|_| Trouble::asked("an address is required, got one with other characters"))?;
    let mut response = plain(StatusCode::SEE_OTHER, None, vec![]);
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn plain(status: StatusCode, kind: Option<&str>, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some(kind) = kind.and_then(|kind| HeaderValue::from_str(kind).ok()) {
        headers.insert(CONTENT_TYPE, kind);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_the_content_and_not_of_the_times() {
        let page = |ms, row| format!("a{}{ms} ms{}b {row}", TIME[0], TIME[1]);
        let of = |ms, row| tag(page(ms, row).as_bytes());
        assert_eq!(of("1.2", "x"), of("33.4", "x"));
        assert_ne!(of("1.2", "x"), of("1.2", "y"));
    }
}
