//! What is asked of the host at the start: its service ranges, and its OpenAPI documents, so that a tenant's `kubectl
//! explain` is the host's.

use std::time::Duration;

use apimachinery::builtin;
use apimachinery::meta::list_at;
use apiserver_shim::server::ApiServer;
use http::Request;
use kube::Client;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// How soon the host is asked again when it does not answer.
const RETRY: Duration = Duration::from_secs(5);

/// The host's service ranges (`ServiceCIDR` objects), once it answers; none if it refuses to say or has no such kind.
pub async fn service_cidrs(client: &Client) -> Vec<String> {
    loop {
        match get(client, "/apis/networking.k8s.io/v1/servicecidrs").await {
            Ok(list) => {
                let items = list_at(&list, &["items"]).iter();
                let cidrs = items.flat_map(|i| list_at(i, &["spec", "cidrs"]));
                return cidrs.filter_map(|c| c.as_str().map(str::to_owned)).collect();
            }
            Err(error) => {
                tracing::warn!(
                    error = apimachinery::error::chain(&error),
                    "cannot read the service ranges of the host"
                );
                if matches!(&error, kube::Error::Api(status) if status.code < 500) {
                    return Vec::new();
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Takes the host's OpenAPI documents of what is built in. What else the host serves is no business of tenants.
pub async fn adopt_openapi(client: Client, api: ApiServer, cancel: CancellationToken) {
    loop {
        match openapi(&client).await {
            Ok((v2, v3)) => {
                tracing::info!(documents = v3.len(), "serving the host's OpenAPI documents");
                return api.set_openapi(v2.into(), v3.into_iter().map(|(path, text)| (path, text.into())).collect());
            }
            Err(error) => {
                tracing::warn!(error = apimachinery::error::chain(&error), "cannot read the host's OpenAPI documents")
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

type Documents = (String, Vec<(String, String)>);

async fn openapi(client: &Client) -> Result<Documents, kube::Error> {
    let index = get(client, "/openapi/v3").await?;
    let mut documents = Vec::new();
    for path in v3_paths() {
        let Some(url) =
            index.pointer(&format!("/paths/{}/serverRelativeURL", path.replace('/', "~1"))).and_then(Value::as_str)
        else {
            continue;
        };
        documents.push((path, client.request_text(request(url)?).await?));
    }
    let mut v2 = get(client, "/openapi/v2").await?;
    keep_builtin(&mut v2);
    Ok((v2.to_string(), documents))
}

fn v3_paths() -> Vec<String> {
    let mut paths = vec![
        "api".to_owned(),
        "apis".to_owned(),
        "version".to_owned(),
        ".well-known/openid-configuration".to_owned(),
        "openid/v1/jwks".to_owned(),
    ];
    for group in builtin::groups() {
        if !group.name.is_empty() {
            paths.push(format!("apis/{}", group.name));
        }
        for (version, _) in &group.versions {
            paths.push(if group.name.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{}/{version}", group.name)
            });
        }
    }
    paths
}

/// Drops paths and kinds of groups that are not built in: the host's own custom resources.
fn keep_builtin(v2: &mut Value) {
    let builtin = |group: &str| builtin::groups().iter().any(|g| g.name == group);
    if let Some(paths) = v2.get_mut("paths").and_then(Value::as_object_mut) {
        paths.retain(|path, _| match path.strip_prefix("/apis/").and_then(|p| p.split('/').next()) {
            Some(group) => group.is_empty() || builtin(group),
            None => true,
        });
    }
    if let Some(definitions) = v2.get_mut("definitions").and_then(Value::as_object_mut) {
        definitions.retain(|_, definition| {
            let kinds = list_at(definition, &["x-kubernetes-group-version-kind"]);
            kinds.is_empty() || kinds.iter().any(|k| k["group"].as_str().is_some_and(builtin))
        });
    }
}

async fn get(client: &Client, url: &str) -> Result<Value, kube::Error> {
    client.request(request(url)?).await
}

fn request(url: &str) -> Result<Request<Vec<u8>>, kube::Error> {
    Request::get(url).header("accept", "application/json").body(Vec::new()).map_err(kube::Error::HttpError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hosts_own_kinds_are_not_shown_to_tenants() {
        let kind =
            |group: &str| json!({"x-kubernetes-group-version-kind": [{"group": group, "kind": "K", "version": "v1"}]});
        let mut v2 = json!({
            "paths": {"/api/v1/pods": {}, "/apis/": {}, "/apis/apps/v1/deployments": {}, "/apis/secret.example.com/v1/plans": {}, "/version/": {}},
            "definitions": {"a": kind("apps"), "b": kind("secret.example.com"), "c": {}},
        });
        keep_builtin(&mut v2);
        assert_eq!(
            v2["paths"].as_object().unwrap().keys().collect::<Vec<_>>(),
            ["/api/v1/pods", "/apis/", "/apis/apps/v1/deployments", "/version/"]
        );
        assert_eq!(v2["definitions"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "c"]);
    }
}
