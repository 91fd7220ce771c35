//! Whose word for a server counts: the certificates that `SSL_CERT_FILE` names, else those of the files in `SSL_CERT_DIR`,
//! as Python's `httpx` and so `huggingface_hub` reads them; else Mozilla's, which are built in.

use std::path::{Path, PathBuf};

use datafusion::common::exec_err;
use datafusion::error::Result;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::files::{file_error, regular};

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Certificates {
    File(PathBuf),
    Folder(PathBuf),
}

impl Certificates {
    /// Those that variables of the environment name.
    pub(super) fn named(given: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let file = given("SSL_CERT_FILE").map(|path| Self::File(path.into()));
        file.or_else(|| Some(Self::Folder(given("SSL_CERT_DIR")?.into())))
    }

    /// Reads them.
    ///
    /// Errors: there are none.
    pub(super) fn roots(&self) -> Result<RootCerts> {
        let (found, variable, path) = match self {
            Self::File(path) => {
                let text = regular::read_configuration(path);
                let text = text.map_err(|e| file_error("read SSL_CERT_FILE", path, e))?;
                (of_text(&text), "SSL_CERT_FILE", path)
            }
            Self::Folder(path) => (of_folder(path)?, "SSL_CERT_DIR", path),
        };
        match found.is_empty() {
            false => Ok(RootCerts::from(found)),
            true => exec_err!(
                "certificates in PEM are required in {variable}, got none in {}",
                path.display()
            ),
        }
    }
}

/// What is no certificate is left out, as others leave it out.
fn of_text(text: &[u8]) -> Vec<Certificate<'static>> {
    let items = parse_pem(text).map_while(std::result::Result::ok);
    let certificates = items.filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    certificates.collect()
}

fn of_folder(folder: &Path) -> Result<Vec<Certificate<'static>>> {
    let failed = |e| file_error("read SSL_CERT_DIR", folder, e);
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let text = regular::read_configuration(&entry.map_err(failed)?.path());
        found.extend(of_text(&text.unwrap_or_default()));
    }
    Ok(found)
}
