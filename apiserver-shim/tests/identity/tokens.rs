//! Service-account tokens from issue to end.

use std::time::Duration;

use serde_json::json;

use crate::world::{A, B, World};

fn pod(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"serviceAccountName": "bot", "containers": [{"name": "c", "image": "i"}]},
    })
}

#[tokio::test]
async fn a_token_is_its_account_in_its_own_tenant_until_it_ends() {
    let world = World::with_two().await;
    world.admin(A).account("bot").await;
    world.admin(B).account("bot").await;
    let token = world.admin(A).token_for("bot", json!({})).await;
    let who = world.anonymous(A).token(&token).whoami().await.unwrap();
    assert_eq!(who["username"], "system:serviceaccount:default:bot");
    assert_eq!(
        who["groups"],
        json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"])
    );
    assert!(who["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap().starts_with("JTI="));
    assert_eq!(world.anonymous(B).token(&token).whoami().await, Err(401));
    assert_eq!(world.anonymous(A).token(&format!("{token}x")).whoami().await, Err(401));
    world.clock.advance(Duration::from_secs(3600 + 61));
    assert_eq!(world.anonymous(A).token(&token).whoami().await, Err(401));
}

#[tokio::test]
async fn a_token_for_others_is_refused_here_and_reviewed_for_them() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    admin.account("bot").await;
    let token = admin.token_for("bot", json!({"audiences": ["vault"]})).await;
    assert_eq!(world.anonymous(A).token(&token).whoami().await, Err(401));
    let review = |audiences: serde_json::Value, token: String| {
        let admin = admin.clone();
        async move {
            let review = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "spec": {"token": token, "audiences": audiences},
            });
            admin.create("/apis/authentication.k8s.io/v1/tokenreviews", review).await["status"].clone()
        }
    };
    let good = review(json!(["vault", "other"]), token.clone()).await;
    assert_eq!((&good["authenticated"], &good["audiences"]), (&json!(true), &json!(["vault"])));
    let issuer = world.tenant(A).issuer();
    let bad = review(json!([]), token).await;
    let error = format!(
        "[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences [\"{issuer}\"]]"
    );
    assert_eq!((bad.get("authenticated"), &bad["user"], &bad["error"]), (None, &json!({}), &json!(error)));
    assert_eq!(review(json!([]), "garbage".to_owned()).await["error"], "invalid bearer token");
}

#[tokio::test]
async fn a_token_dies_with_its_account_and_does_not_rise_with_the_next_one() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    admin.account("bot").await;
    let client = world.anonymous(A).token(&admin.token_for("bot", json!({})).await);
    assert!(client.whoami().await.is_ok());
    assert_eq!(admin.send("DELETE", "/api/v1/namespaces/default/serviceaccounts/bot", None).await.0, 200);
    assert_eq!(client.whoami().await, Err(401));
    admin.account("bot").await;
    assert_eq!(client.whoami().await, Err(401));
}

#[tokio::test]
async fn a_token_dies_with_the_pod_that_it_is_bound_to() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    admin.account("bot").await;
    let made = admin.create("/api/v1/namespaces/default/pods", pod("p")).await;
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid});
    let token = admin.token_for("bot", json!({"boundObjectRef": reference})).await;
    let client = world.anonymous(A).token(&token);
    let who = client.whoami().await.unwrap();
    assert_eq!(who["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    assert_eq!(who["extra"]["authentication.kubernetes.io/pod-uid"], json!([uid]));
    let (code, _) = admin.send("DELETE", "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0", None).await;
    assert_eq!(code, 200);
    assert_eq!(client.whoami().await, Err(401));
    admin.create("/api/v1/namespaces/default/pods", pod("p")).await;
    assert_eq!(client.whoami().await, Err(401));
}

#[tokio::test]
async fn bad_requests_for_tokens_are_refused_as_by_a_stock_server() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    for name in ["bot", "other"] {
        admin.account(name).await;
    }
    let made = admin.create("/api/v1/namespaces/default/pods", pod("p")).await;
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let ask = |account: &'static str, spec: serde_json::Value| {
        let admin = admin.clone();
        async move {
            let path = format!("/api/v1/namespaces/default/serviceaccounts/{account}/token");
            let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
            let (code, status) = admin.send("POST", &path, Some(request)).await;
            (code, status["message"].as_str().unwrap_or_default().to_owned())
        }
    };
    let reference = |kind: &str, name: &str, uid: &str| json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name, "uid": uid}});
    for (account, spec, code, message) in [
        (
            "bot",
            json!({"expirationSeconds": 10}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 10: may not \
             specify a duration less than 10 minutes"
                .to_owned(),
        ),
        ("nobody", json!({}), 404, "serviceaccounts \"nobody\" not found".to_owned()),
        ("bot", reference("Pod", "x", ""), 404, "pods \"x\" not found".to_owned()),
        ("bot", reference("Foo", "x", ""), 400, "cannot bind token to object of type /v1, Kind=Foo".to_owned()),
        (
            "bot",
            reference("Pod", "p", "1"),
            409,
            "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (1) does not match the \
             UID in record. The object might have been deleted and then recreated"
                .to_owned(),
        ),
        (
            "other",
            reference("Pod", "p", uid),
            400,
            "cannot bind token for serviceaccount \"other\" to pod running with different serviceaccount name."
                .to_owned(),
        ),
    ] {
        assert_eq!(ask(account, spec).await, (code, message));
    }
}

#[tokio::test]
async fn anyone_with_a_token_can_learn_how_to_check_it() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    admin.account("bot").await;
    let token = admin.token_for("bot", json!({})).await;
    let client = world.anonymous(A).token(&token);
    let (code, configuration) = client.get("/.well-known/openid-configuration").await;
    assert_eq!((code, configuration["issuer"].as_str().unwrap()), (200, world.tenant(A).issuer().as_str()));
    let (code, keys) = client.get("/openid/v1/jwks").await;
    assert_eq!((code, &keys["keys"][0]["kid"]), (200, &json!(world.tenant(A).token_key().id())));
    assert_eq!(world.anonymous(A).get("/openid/v1/jwks").await.0, 403);
}
