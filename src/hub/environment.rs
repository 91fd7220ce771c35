//! What the environment says of the hub, in the variables that `huggingface_hub` reads.

use std::env;
use std::fmt;
use std::path::PathBuf;

use datafusion::common::exec_err;
use datafusion::error::Result;

use super::certificates::Certificates;
use crate::files::regular;

const ENDPOINT: &str = "https://huggingface.co";

/// Where the cache and the hub are.
pub(super) struct Environment {
    /// The folder of the repositories' folders.
    pub(super) cache: PathBuf,
    /// Whether the network is never asked.
    pub(super) offline: bool,
    /// The hub's address.
    pub(super) endpoint: String,
    /// Who asks. Never shown.
    pub(super) token: Option<String>,
    /// Whose word for a server counts, where that is said.
    pub(super) certificates: Option<Certificates>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cache,
            offline,
            endpoint,
            ..
        } = self;
        write!(f, "Environment({}, {offline}, {endpoint})", cache.display())
    }
}

impl Environment {
    pub(super) fn read() -> Result<Self> {
        Self::of(&|name| env::var(name).ok())
    }

    fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let folder = |name: &str| given(name).map(|text| expanded(&text, &given));
        let usual = || {
            Some(
                folder("XDG_CACHE_HOME")
                    .or_else(|| Some(PathBuf::from(given("HOME")?).join(".cache")))?
                    .join("huggingface"),
            )
        };
        let caches = || folder("HF_HUB_CACHE").or_else(|| folder("HUGGINGFACE_HUB_CACHE"));
        let home = folder("HF_HOME").or_else(usual);
        let cache = caches().or_else(|| Some(home.as_ref()?.join("hub")));
        let Some(cache) = cache else {
            return exec_err!(
                "a folder of the hub's cache is required in HF_HUB_CACHE or HF_HOME, got neither and no HOME"
            );
        };
        let token_file = folder("HF_TOKEN_PATH").or_else(|| Some(home?.join("token")));
        let of_file = || String::from_utf8(regular::read_configuration(&token_file?).ok()?).ok();
        let token = given("HF_TOKEN")
            .or_else(|| given("HUGGING_FACE_HUB_TOKEN"))
            .or_else(of_file);
        let token = token
            .map(|token| token.trim().to_string())
            .filter(|token| !token.is_empty());
        let unasked = given("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value));
        let offline = given("HF_HUB_OFFLINE").or_else(|| given("TRANSFORMERS_OFFLINE"));
        Ok(Self {
            cache,
            offline: offline.is_some_and(|value| is_true(&value)),
            endpoint: given("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_string()),
            token: token.filter(|_| !unasked),
            certificates: Certificates::named(&given),
        })
    }
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str())
}

/// With `~` and a variable at its beginning put in.
fn expanded(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let (name, rest) = match text.strip_prefix('~') {
        Some(rest) => ("HOME", rest),
        None => match text.strip_prefix('$') {
            Some(named) => named.split_at(named.find('/').unwrap_or(named.len())),
            None => return PathBuf::from(text),
        },
    };
    match variable(name.trim_matches(['{', '}'])) {
        Some(value) if rest.is_empty() || rest.starts_with('/') => PathBuf::from(value + rest),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let known = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_string())
        };
        Environment::of(&known).unwrap()
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        for (variables, cache) in [
            (vec![("HOME", "/h")], "/h/.cache/huggingface/hub"),
            (
                vec![("HOME", "/h"), ("XDG_CACHE_HOME", "/x")],
                "/x/huggingface/hub",
            ),
            (vec![("HOME", "/h"), ("HF_HOME", "~/y")], "/h/y/hub"),
            (vec![("HF_HOME", "$D/y"), ("D", "/d")], "/d/y/hub"),
            (
                vec![("HF_HOME", "/y"), ("HUGGINGFACE_HUB_CACHE", "/old")],
                "/old",
            ),
            (
                vec![("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/old")],
                "/c",
            ),
            (vec![("HF_HUB_CACHE", ""), ("HF_HOME", "/y")], "/y/hub"),
        ] {
            assert_eq!(
                environment(&variables).cache,
                PathBuf::from(cache),
                "{variables:?}"
            );
        }
        assert!(Environment::of(&|_| None).is_err());
    }

    #[test]
    fn the_token_comes_from_the_environment_or_its_file_and_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("token"), "hf_file\n").unwrap();
        let of = |more: &[(&str, &str)]| environment(&[&[("HF_HOME", home)], more].concat());
        assert_eq!(of(&[]).token.as_deref(), Some("hf_file"));
        assert_eq!(
            of(&[("HF_TOKEN", " hf_given ")]).token.as_deref(),
            Some("hf_given")
        );
        assert_eq!(of(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).token, None);
        assert_eq!(of(&[("HF_TOKEN_PATH", "/none")]).token, None);
        assert!(!format!("{:?}", of(&[])).contains("hf_file"));
    }

    #[test]
    fn a_file_of_certificates_comes_before_a_folder_of_them() {
        let of = |variables: &[(&str, &str)]| {
            environment(&[&[("HOME", "/h")], variables].concat()).certificates
        };
        assert_eq!(of(&[("SSL_CERT_FILE", "")]), None);
        let (file, folder) = (("SSL_CERT_FILE", "/f.pem"), ("SSL_CERT_DIR", "/d"));
        let expected = Certificates::File("/f.pem".into());
        assert_eq!(of(&[folder, file]), Some(expected));
        assert_eq!(of(&[folder]), Some(Certificates::Folder("/d".into())));
    }

    #[test]
    fn offline_is_said_in_several_words() {
        let offline = |name, value| environment(&[("HOME", "/h"), (name, value)]).offline;
        for value in ["1", "on", "Yes", "TRUE"] {
            assert!(offline("HF_HUB_OFFLINE", value), "{value}");
        }
        assert!(offline("TRANSFORMERS_OFFLINE", "1"));
        for value in ["", "0", "no"] {
            assert!(!offline("HF_HUB_OFFLINE", value), "{value}");
        }
    }
}
