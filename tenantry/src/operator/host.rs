//! Writes to the host: server-side apply under the operator's own manager.

use std::time::Duration;

use http::Request;
use kube::Client;
use serde_json::Value;

/// The field manager of the operator's writes.
pub const MANAGER: &str = "tenantry-operator";

/// How long a role that was just bound may take to be seen by the host's authorizer.
const BINDING_DELAYS: [Duration; 6] = [
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(75),
    Duration::from_millis(250),
    Duration::from_millis(650),
    Duration::from_millis(1000),
];

/// Why an object could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It is not an object with a name: a bug.
    #[error("malformed object")]
    Malformed,
    /// The host said no.
    #[error("the host refused to write {what}")]
    Refused {
        /// Path of the object.
        what: String,
        /// What it said.
        #[source]
        source: kube::Error,
    },
}

/// Applies an object and returns what the host made of it.
///
/// # Errors
/// [`WriteError::Refused`]; a refusal that a binding made just before will lift is waited out first.
pub async fn apply(client: &Client, plural: &str, object: &Value) -> Result<Value, WriteError> {
    let path = path(plural, object).ok_or(WriteError::Malformed)?;
    let mut delays = BINDING_DELAYS.into_iter();
    loop {
        let request = Request::patch(format!("{path}?fieldManager={MANAGER}&force=true"))
            .header("content-type", "application/apply-patch+yaml")
            .body(object.to_string().into_bytes())
            .map_err(|_| WriteError::Malformed)?;
        match client.request::<Value>(request).await {
            Ok(applied) => return Ok(applied),
            Err(kube::Error::Api(status)) if status.code == 403 => match delays.next() {
                Some(delay) => tokio::time::sleep(delay).await,
                None => return Err(WriteError::Refused { what: path, source: kube::Error::Api(status) }),
            },
            Err(source) => return Err(WriteError::Refused { what: path, source }),
        }
    }
}

fn path(plural: &str, object: &Value) -> Option<String> {
    let version = object.get("apiVersion")?.as_str()?;
    let root = if version.contains('/') { "apis" } else { "api" };
    let (namespace, name) = (apimachinery::meta::namespace(object), apimachinery::meta::name(object));
    let place = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
    (!name.is_empty()).then(|| format!("/{root}/{version}{place}/{plural}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_written_where_they_belong() {
        let object = json!({"apiVersion": "v1", "metadata": {"name": "a", "namespace": "n"}});
        assert_eq!(path("services", &object).as_deref(), Some("/api/v1/namespaces/n/services/a"));
        let object = json!({"apiVersion": "tenantry.io/v1alpha1", "metadata": {"name": "a"}});
        assert_eq!(path("things", &object).as_deref(), Some("/apis/tenantry.io/v1alpha1/things/a"));
        assert_eq!(path("things", &json!({"apiVersion": "v1", "metadata": {}})), None);
    }
}
