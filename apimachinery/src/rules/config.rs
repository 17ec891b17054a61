//! ConfigMaps and Secrets.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::edit::{fill_text, made_mut, remove};

/// `stringData` goes into `data`, and wins.
pub(super) fn secret_default(secret: &mut Value) {
    fill_text(secret, "type", "Opaque");
    let Some(Value::Object(texts)) = secret.get("stringData").cloned() else { return };
    if !texts.is_empty()
        && let Some(Value::Object(data)) = made_mut(secret, "data")
    {
        for (key, text) in texts {
            data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
        }
    }
    remove(secret, "stringData");
}
