//! Addresses of stores that lie elsewhere.

use std::path::Path;

use datafusion::common::plan_err;
use datafusion::error::Result;
use url::Url;

/// The kinds that are read, as errors name them.
const KINDS: &str = if cfg!(feature = "cloud") {
    "a folder, or the address http(s)://HOST/PATH, s3://BUCKET/PATH, gs://BUCKET/PATH or az://CONTAINER/PATH of a store"
} else {
    "a folder, or the address http(s)://HOST/PATH of a store"
};

/// The address of a store, if a path is one.
///
/// Errors (planning): of a kind that is not read, or with more in it than a host or a bucket and a path.
pub fn address(store: &Path) -> Result<Option<Url>> {
    let Some((scheme, _)) = store.to_str().and_then(|text| text.split_once("://")) else {
        return Ok(None);
    };
    let url = store.to_str().and_then(|text| Url::parse(text).ok());
    match (scheme, url.filter(is_plain)) {
        ("http" | "https", Some(url)) => Ok(Some(url)),
        ("s3" | "gs" | "az", Some(url)) if url.port().is_none() => match cfg!(feature = "cloud") {
            true => Ok(Some(url)),
            false => plan_err!(
                "{KINDS} is required, got {} (a build with the feature cloud reads buckets; one that anyone may read has \
                 an https address)",
                store.display()
            ),
        },
        _ => plan_err!("{KINDS} is required, got {}", store.display()),
    }
}

/// Whether an address is a host and a path. It is shown, so that a password in it is none.
fn is_plain(url: &Url) -> bool {
    let is_more = url.query().is_some() || url.fragment().is_some() || url.password().is_some();
    url.has_host() && url.host_str() != Some("") && url.username().is_empty() && !is_more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_hosts_and_buckets() {
        let of = |text: &str| address(Path::new(text));
        for folder in ["polysema.store", "/a/b", "./http", "C:\\store"] {
            assert!(of(folder).expect("a folder").is_none(), "{folder}");
        }
        let url = of("https://a.example/x/polysema.store").expect("an address");
        assert_eq!(url.expect("an address").path(), "/x/polysema.store");
        for other in [
            "https://",
            "http://a/b?c=d",
            "http://a/b#c",
            "http://me:word@a/b",
            "s3:///store",
            "s3://key:word@bucket/store",
            "s3://bucket:90/store",
            "gs://bucket/store?a=b",
            "ftp://a/b",
            "file:///a/b",
        ] {
            let error = of(other).expect_err("refused").strip_backtrace();
            let said = "a folder, or the address http(s)://HOST/PATH";
            assert!(error.contains(said) && error.contains(other), "{error}");
        }
        for bucket in ["s3://bucket/a/store", "gs://my_bucket", "az://box/store"] {
            match (of(bucket), cfg!(feature = "cloud")) {
                (Ok(Some(url)), true) => assert_eq!(url.as_str(), bucket),
                (Err(error), false) => assert!(error.strip_backtrace().contains("feature cloud")),
                (other, _) => panic!("{bucket}: {other:?}"),
            }
        }
    }
}
