//! Encryption, which fails closed: what cannot be loaded ends the server before it listens.

use std::path::Path;
use std::sync::Arc;

use datafusion::common::exec_err;
use datafusion::error::Result;
use pgwire::tokio::tokio_rustls::TlsAcceptor;
use pgwire::tokio::tokio_rustls::rustls::ServerConfig;
use pgwire::tokio::tokio_rustls::rustls::crypto::ring::default_provider;
use pgwire::tokio::tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use pgwire::tokio::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::files;

/// What encrypts with a chain of certificates and its key, both as PEM; one for PostgreSQL's protocol and one for HTTP,
/// which are told apart by what they say they speak.
pub(super) fn acceptors(certificate: &Path, key: &Path) -> Result<[TlsAcceptor; 2]> {
    let chain = read(certificate)?;
    let chain: std::result::Result<Vec<_>, PemError> =
        CertificateDer::pem_slice_iter(&chain).collect();
    let chain = match chain {
        Ok(chain) if !chain.is_empty() => chain,
        Ok(_) => {
            return exec_err!(
                "{}: certificates as PEM are required, got none",
                certificate.display()
            );
        }
        Err(error) => {
            return exec_err!(
                "{}: certificates as PEM are required, got {error}",
                certificate.display()
            );
        }
    };
    let text = read(key)?;
    let private = match PrivateKeyDer::from_pem_slice(&text) {
        Ok(private) => private,
        Err(error) => {
            return exec_err!(
                "{}: a private key as PEM without a password is required, got {error}",
                key.display()
            );
        }
    };
    let provider = Arc::new(default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, private)
        });
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            return exec_err!(
                "{} and {}: a certificate and its key are required, got {error}",
                certificate.display(),
                key.display()
            );
        }
    };
    let speaking = |protocol: &[u8]| {
        let mut config = config.clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    };
    Ok([speaking(b"postgresql"), speaking(b"http/1.1")])
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| files::file_error("read", path, error))
}
