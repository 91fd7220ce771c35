//! Where a worker is, and how both sides know each other. Beyond this machine nothing is said without certificates: a
//! worker does what it is told.

use std::path::{Path, PathBuf};

use datafusion::common::{exec_err, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use url::{Host, Url};

use crate::files::file_error;

/// Files as PEM: who asks a worker shows a certificate as the worker does, and each believes those of one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the authority.
    pub ca: PathBuf,
    /// The own chain of certificates.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What the files say.
#[derive(Clone)]
pub(super) struct Tls {
    ca: Certificate,
    own: Identity,
}

impl TlsFiles {
    pub(super) fn read(&self) -> Result<Tls> {
        let read = |path: &Path, what: &str| {
            let text = std::fs::read(path).map_err(|e| file_error("read", path, e))?;
            match text.windows(11).any(|part| part == b"-----BEGIN ") {
                true => Ok(text),
                false => exec_err!("{}: {what} as PEM is required", path.display()),
            }
        };
        let cert = read(&self.cert, "a chain of certificates")?;
        Ok(Tls {
            ca: Certificate::from_pem(read(&self.ca, "the certificate of an authority")?),
            own: Identity::from_pem(cert, read(&self.key, "a private key")?),
        })
    }
}

impl Tls {
    pub(super) fn of_server(self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(self.own)
            .client_ca_root(self.ca)
    }

    pub(super) fn of_client(self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .identity(self.own)
            .ca_certificate(self.ca)
    }
}

/// Whether it is an address of this machine alone.
pub(super) fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The URL of a worker that is written as `host:port`.
///
/// Errors: another form; a worker beyond this machine without certificates.
pub(super) fn url_of(address: &str, encrypted: bool) -> Result<Url> {
    let required = || plan_datafusion_err!("workers: HOST:PORT is required, got '{address}'");
    let port = address.rsplit_once(':').map(|(_, port)| port);
    let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok());
    let scheme = if encrypted { "https" } else { "http" };
    let url = Url::parse(&format!("{scheme}://{address}")).map_err(|_| required())?;
    if !has_port || url.path() != "/" || !url.username().is_empty() || url.query().is_some() {
        return Err(required());
    }
    if url.host().is_none() {
        return Err(required());
    }
    match is_here(&url) || encrypted {
        true => Ok(url),
        false => plan_err!(
            "workers: certificates are required beyond this machine (--worker-ca, --worker-cert, --worker-key), got none for \
             '{address}'"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_this_machine_certificates_are_required() {
        for here in ["127.0.0.1:80", "localhost:7001", "[::1]:7001"] {
            assert!(url_of(here, false).is_ok(), "{here}");
        }
        for there in ["10.0.0.1:7001", "example.org:7001", "0.0.0.0:7001"] {
            let refused = url_of(there, false).expect_err(there).to_string();
            assert!(refused.contains("certificates are required"), "{refused}");
            assert_eq!(url_of(there, true).expect(there).scheme(), "https");
        }
        for wrong in [
            "",
            "localhost",
            "localhost:x",
            "a b:1",
            "u@localhost:1",
            "localhost:1/x",
        ] {
            let refused = url_of(wrong, true).expect_err(wrong).to_string();
            assert!(refused.contains("HOST:PORT is required"), "{refused}");
        }
    }
}
