//! Settings on their way to a worker: the session's own, and those of the engine that change what a row says.

use datafusion::common::config::ExtensionOptions;
use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use datafusion::prelude::SessionConfig;
use http::{HeaderMap, HeaderName, HeaderValue};
use polysema_udfs::calls::settings::PolysemaOptions;

use crate::settings;

/// Name of the line of a request that has the settings.
const SETTINGS: HeaderName = HeaderName::from_static("x-polysema-settings");

/// Name of the line that says how rows are packed on their way, as the transport reads it.
const PACKING: HeaderName =
    HeaderName::from_static("x-datafusion-distributed-config-distributed.compression");

/// Settings of DataFusion that travel.
const OF_ENGINE: [&str; 2] = [
    "datafusion.execution.batch_size",
    "datafusion.execution.time_zone",
];

/// The settings of a session as a line of a request, and whether rows are packed: on one machine that costs more than it saves.
pub(super) fn written(config: &SessionConfig, packed: bool) -> Result<HeaderMap> {
    let own = PolysemaOptions::of(config.options())?.entries();
    let engine = config.options().entries().into_iter();
    let engine = engine.filter(|entry| OF_ENGINE.contains(&entry.key.as_str()));
    let entries = own.into_iter().chain(engine);
    let settings: Vec<(String, String)> = entries
        .filter_map(|entry| Some((entry.key, entry.value?)))
        .collect();
    let unwritten = |e| exec_datafusion_err!("settings for a worker: {e}");
    let line = ascii(&serde_json::to_string(&settings).map_err(|e| unwritten(e.to_string()))?);
    let line = HeaderValue::from_str(&line).map_err(|e| unwritten(e.to_string()))?;
    let packing = HeaderValue::from_static(if packed { "lz4" } else { "none" });
    Ok([(SETTINGS, line), (PACKING, packing)].into_iter().collect())
}

/// A session's configuration with the settings that a request has.
pub(super) fn read(mut config: SessionConfig, headers: &HeaderMap) -> Result<SessionConfig> {
    let unread = |e: String| exec_datafusion_err!("settings of a session are required, got {e}");
    let line = headers.get(SETTINGS).map_or(Ok("[]"), HeaderValue::to_str);
    let line = line.map_err(|e| unread(e.to_string()))?;
    let entries: Vec<(String, String)> =
        serde_json::from_str(line).map_err(|e| unread(e.to_string()))?;
    let mut own = settings::defaults();
    for (key, value) in entries {
        match OF_ENGINE.contains(&key.as_str()) {
            true => config.options_mut().set(&key, &value)?,
            false => own.set(&key, &value)?,
        }
    }
    Ok(config.with_option_extension(own))
}

/// JSON whose other characters are escaped.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character.is_ascii() {
            true => text.push(character),
            false => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    text += &format!("\\u{unit:04x}");
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_arrive_as_they_were_set() {
        let mut own = settings::defaults();
        own.set("threshold", "0.3").expect("a number");
        own.set("run", "a \"run\" of déjà 𝄞").expect("a text");
        let config = SessionConfig::new().with_option_extension(own.clone());
        let mut config = config.with_batch_size(17);
        let zone = "datafusion.execution.time_zone";
        config.options_mut().set(zone, "+05:30").expect("a zone");
        let headers = written(&config, true).expect("a line");
        let read = read(SessionConfig::new(), &headers).expect("settings");
        assert_eq!(PolysemaOptions::of(read.options()).expect("settings"), own);
        assert_eq!(read.batch_size(), 17);
        assert_eq!(
            read.options().execution.time_zone.as_deref(),
            Some("+05:30")
        );
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        let mut headers = HeaderMap::new();
        assert!(read(SessionConfig::new(), &headers).is_ok());
        for wrong in [
            "[[\"polysema.x\", \"1\"]]",
            "{",
            "[[\"polysema.threshold\", \"x\"]]",
        ] {
            headers.insert(SETTINGS, HeaderValue::from_static(wrong));
            assert!(read(SessionConfig::new(), &headers).is_err(), "{wrong}");
        }
    }
}
