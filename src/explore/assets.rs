//! The style and the script, which are in the program and are named by their content.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// A file of the program.
pub struct Asset {
    kind: &'static str,
    bytes: &'static [u8],
    address: String,
}

impl Asset {
    fn new(name: &str, kind: &'static str, bytes: &'static [u8]) -> Self {
        let hash = blake3::hash(bytes).to_hex();
        let (stem, ending) = name.split_once('.').unwrap_or((name, ""));
        let address = format!("/assets/{stem}-{}.{ending}", &hash[..12]);
        Self {
            kind,
            bytes,
            address,
        }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it is below the folder of a site.
    pub fn file(&self) -> &str {
        &self.address[1..]
    }

    /// What is in it.
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }
}

/// The style of all pages.
pub static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../../assets/explore.css");
    Asset::new("explore.css", "text/css; charset=utf-8", bytes)
});

/// What moves.
pub static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../../assets/explore.js");
    Asset::new("explore.js", "text/javascript; charset=utf-8", bytes)
});

/// What completes names while SQL is written.
pub static CONSOLE: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../../assets/console.js");
    Asset::new("console.js", "text/javascript; charset=utf-8", bytes)
});

/// What moves where no server answers.
pub static PUBLISHED: LazyLock<Asset> = LazyLock::new(|| {
    let bytes = include_bytes!("../../assets/published.js");
    Asset::new("published.js", "text/javascript; charset=utf-8", bytes)
});

/// The files that the pages of a site load.
pub fn of_a_site() -> [&'static Asset; 3] {
    [&STYLE, &SCRIPT, &PUBLISHED]
}

/// The file at an address, for ever the same.
pub fn answer(path: &str) -> Response {
    let asset = [&*STYLE, &*SCRIPT, &*CONSOLE]
        .into_iter()
        .find(|asset| asset.address == path);
    let Some(asset) = asset else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = Response::new(Body::from(asset.bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(CACHE_CONTROL, kept);
    response
}
