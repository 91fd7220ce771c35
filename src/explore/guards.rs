//! Who may ask. Any page of a browser can reach a server of this machine, so a request must name it as its reader does and
//! come from its own pages; and no page of ours may load, frame or tell anything elsewhere.

use axum::http::header::{CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::trouble::Trouble;
use crate::web::hosts::{is_here, is_of, parted, text};

/// The most characters of an address.
const ADDRESS: usize = 16_384;

/// What every answer forbids: all but its own scripts, styles and pictures, and no style or script in the page itself.
const FORBIDDEN: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    // Without any, a browser would not say either which page sends a form.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Under which names it may be asked.
#[derive(Debug, Clone)]
pub struct Guards {
    /// Its port.
    pub port: u16,
    /// The name by which a proxy is asked that passes requests on, with its port if it has one.
    pub proxy: Option<String>,
}

impl Guards {
    /// Refuses a request that no reader of its own pages sends.
    pub fn check(&self, head: &Parts) -> Result<(), Trouble> {
        let forbidden = |message: String| Trouble::new(StatusCode::FORBIDDEN, message);
        let host = text(&head.headers, &HOST).unwrap_or_default();
        if !self.is_ours(host) {
            return Err(Trouble::new(
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "the name of this machine is required as Host, got '{host}': open http://localhost:{}/",
                    self.port
                ),
            ));
        }
        let origin = head.headers.get(ORIGIN).map(HeaderValue::to_str);
        if let Some(origin) = origin
            && !origin.is_ok_and(|origin| is_of(origin, Some(host)))
        {
            return Err(forbidden(
                "a page of this server is required, got another's request".to_string(),
            ));
        }
        let fetch = |name: &'static str| text(&head.headers, &HeaderName::from_static(name));
        let is_visit = head.method == Method::GET && fetch("sec-fetch-mode") == Some("navigate");
        let is_own = match fetch("sec-fetch-site") {
            None | Some("none" | "same-origin") => true,
            // Another server of this machine, whose page has a link.
            Some("same-site") => is_visit,
            Some(_) => false,
        };
        if !is_own {
            return Err(forbidden(
                "a page of this server is required, got a request of another site's page: open the address itself"
                    .to_string(),
            ));
        }
        let length = head.uri.to_string().len();
        if length > ADDRESS {
            return Err(Trouble::new(
                StatusCode::URI_TOO_LONG,
                format!("an address of at most {ADDRESS} characters is required, got {length}"),
            ));
        }
        let is_read = head.method == Method::GET || head.method == Method::HEAD;
        let body = text(&head.headers, &CONTENT_LENGTH).is_some_and(|length| length != "0");
        if is_read && (body || head.headers.contains_key(TRANSFER_ENCODING)) {
            return Err(Trouble::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "a request without a body is required, got one with a body",
            ));
        }
        Ok(())
    }

    /// Refuses what would change something and does not say that a page of ours sends it.
    pub fn check_form(&self, head: &Parts) -> Result<(), Trouble> {
        match head.headers.contains_key(ORIGIN) {
            true => Ok(()),
            false => Err(Trouble::new(
                StatusCode::FORBIDDEN,
                "a form of this server's own pages is required, got a request that does not say where it comes from",
            )),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        let (name, port) = parted(host);
        let here = is_here(&name.to_ascii_lowercase()) && port.unwrap_or(80) == self.port;
        here || (self.proxy.as_deref()).is_some_and(|proxy| proxy.eq_ignore_ascii_case(host))
    }
}

/// Says in an answer what a browser may do with it.
pub fn forbid(headers: &mut HeaderMap) {
    for (name, value) in FORBIDDEN {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn status(guards: &Guards, heads: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri("/runs/demo");
        for (name, value) in heads {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let checked = guards.check(&head);
        checked.map_or_else(|trouble| trouble.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_readers_of_its_own_pages_are_let_in() {
        let guards = Guards {
            port: 8080,
            proxy: Some("notes.example".into()),
        };
        let of = |heads: &[(&str, &str)]| status(&guards, heads);
        let here = ("host", "localhost:8080");
        for host in [
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "LOCALHOST:8080",
            "notes.example",
        ] {
            assert_eq!(of(&[("host", host)]), 200, "{host}");
        }
        for host in [
            "",
            "localhost",
            "localhost:80",
            "evil.example:8080",
            "evil.example",
            "127.0.0.1.evil.example:8080",
            "notes.example:1",
        ] {
            assert_eq!(of(&[("host", host)]), 421, "{host}");
        }
        assert_eq!(of(&[here, ("origin", "http://localhost:8080")]), 200);
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:9",
            "http://127.0.0.1:8080",
        ] {
            assert_eq!(of(&[here, ("origin", origin)]), 403, "{origin}");
        }
        for (site, mode, status) in [
            ("none", "navigate", 200),
            ("same-origin", "cors", 200),
            ("same-site", "navigate", 200),
            ("same-site", "no-cors", 403),
            ("cross-site", "navigate", 403),
            ("cross-site", "no-cors", 403),
        ] {
            let heads = [here, ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            assert_eq!(of(&heads), status, "{site} {mode}");
        }
        assert_eq!(of(&[here, ("content-length", "5")]), 413);
    }
}
