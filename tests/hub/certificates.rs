//! Servers that speak TLS, and whose word for them counts.

use std::fs;
use std::path::Path;

use super::{Hub, MODEL, Place, demo, hub_of, ingest};

#[test]
fn a_server_is_who_the_named_certificates_vouch_for() {
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
    let hub = hub_of(Hub::secure(&tls));
    let fetched = |variables: &[(&str, &str)]| {
        let place = Place::new();
        let online = [&[("HF_ENDPOINT", hub.endpoint.as_str())], variables].concat();
        let output = place.run(&ingest("r", MODEL), &online);
        let error = String::from_utf8(output.stderr).unwrap();
        match output.status.success() {
            true => Ok(fs::read(place.snapshot().join("model.safetensors")).unwrap()),
            false => Err(error),
        }
    };
    let at = |name: &str| tls.join(name).to_str().unwrap().to_string();
    let (ca, other, key) = (at("ca.pem"), at("other.pem"), at("server.key"));
    let weights = fs::read(demo("model/model.safetensors")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    fs::copy(&ca, Path::new(folder).join("0123abcd.0")).unwrap();
    let both = Path::new(folder).join("both.pem");
    fs::write(
        &both,
        [fs::read(&other).unwrap(), fs::read(&ca).unwrap()].concat(),
    )
    .unwrap();
    for variables in [
        [("SSL_CERT_FILE", ca.as_str())],
        [("SSL_CERT_FILE", both.to_str().unwrap())],
        [("SSL_CERT_DIR", folder)],
    ] {
        assert!(fetched(&variables) == Ok(weights.clone()), "{variables:?}");
    }
    let refused = |variables: &[(&str, &str)]| fetched(variables).unwrap_err();
    // Neither the built-in ones nor those of another vouch for it.
    for variables in [
        &[][..],
        &[("SSL_CERT_FILE", other.as_str())],
        &[("SSL_CERT_FILE", other.as_str()), ("SSL_CERT_DIR", folder)],
    ] {
        let error = refused(variables);
        assert!(error.contains("UnknownIssuer"), "{variables:?}: {error}");
    }
    let none = "certificates in PEM are required in SSL_CERT_FILE, got none in";
    let error = refused(&[("SSL_CERT_FILE", &key)]);
    assert!(error.contains(none), "{error}");
    let error = refused(&[("SSL_CERT_FILE", "nowhere.pem")]);
    assert!(error.contains("read SSL_CERT_FILE nowhere.pem"), "{error}");
}
