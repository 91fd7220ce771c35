//! Names of a host in a request: any page of a browser reaches this machine, under whatever name it has made of it.

use axum::http::{HeaderMap, HeaderName};

/// A header that is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A host and its port, if it is written with one.
pub(crate) fn parted(host: &str) -> (&str, Option<u16>) {
    let parts = host.rsplit_once(':');
    let parts = parts.and_then(|(name, port)| Some((name, port.parse().ok()?)));
    parts.map_or((host, None), |(name, port)| (name, Some(port)))
}

/// Whether a name without a port is this machine's for itself.
pub(crate) fn is_here(name: &str) -> bool {
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// Whether an `Origin` is a page of this very host.
pub(crate) fn is_of(origin: &str, host: Option<&str>) -> bool {
    let name = origin.split_once("://").map(|(_, name)| name);
    name.is_some() && name == host
}
