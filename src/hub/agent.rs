//! Who asks over HTTP, and how long it waits.

use std::env;
use std::time::Duration;

use datafusion::error::Result;
use ureq::Agent;
use ureq::tls::TlsConfig;

use super::certificates::Certificates;

/// Without a byte for so long a connection counts as cut.
const SILENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
/// Of who sends no token.
const REDIRECTS: u32 = 8;

/// One that trusts these certificates, else Mozilla's.
pub(super) fn agent(certificates: Option<&Certificates>, redirects: u32) -> Result<Agent> {
    let config = Agent::config_builder()
        .max_redirects(redirects)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(SILENCE))
        .user_agent(concat!("polysema/", env!("CARGO_PKG_VERSION")));
    let config = match certificates {
        Some(named) => {
            let roots = named.roots()?;
            config.tls_config(TlsConfig::builder().root_certs(roots).build())
        }
        None => config,
    };
    Ok(config.build().new_agent())
}

/// One that asks any server, without a token.
pub fn web_agent() -> Result<Agent> {
    let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    agent(Certificates::named(&given).as_ref(), REDIRECTS)
}
