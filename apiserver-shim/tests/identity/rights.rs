//! What users may do: roles, impersonation, and no more than they have.

use serde_json::{Value, json};

use crate::world::{A, B, Client, World};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn role(name: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
        "rules": [{"apiGroups": ["*"], "resources": resources, "verbs": verbs}],
    })
}

fn binding(name: &str, role: &str, user: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
}

async fn grant(admin: &Client, name: &str, resources: &[&str], verbs: &[&str], user: &str) {
    admin.create(&format!("{RBAC}/clusterroles"), role(name, resources, verbs)).await;
    admin.create(&format!("{RBAC}/clusterrolebindings"), binding(name, name, user)).await;
}

#[tokio::test]
async fn a_right_holds_from_the_next_request_on_and_in_its_tenant_alone() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    let (jane, stranger) = (world.certified(A, "jane", &[]), world.certified(B, "jane", &[]));
    let (code, status) = jane.get("/api/v1/namespaces/default/configmaps").await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API group \"\" in the \
         namespace \"default\""
    );
    grant(&admin, "reader", &["configmaps"], &["list"], "jane").await;
    assert_eq!(jane.get("/api/v1/namespaces/default/configmaps").await.0, 200);
    assert_eq!(stranger.get("/api/v1/namespaces/default/configmaps").await.0, 403);
    let (code, _) = admin.send("DELETE", &format!("{RBAC}/clusterrolebindings/reader"), None).await;
    assert_eq!(code, 200);
    assert_eq!(jane.get("/api/v1/namespaces/default/configmaps").await.0, 403);
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_have() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    grant(
        &admin,
        "granter",
        &["clusterroles", "clusterrolebindings", "configmaps"],
        &["create", "get", "update"],
        "jane",
    )
    .await;
    let jane = world.certified(A, "jane", &[]);
    let (code, status) =
        jane.send("POST", &format!("{RBAC}/clusterroles"), Some(role("more", &["secrets"], &["get"]))).await;
    assert_eq!(code, 403);
    assert_eq!(
        status["message"],
        "clusterroles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" \
         (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"*\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
    );
    let bind = binding("more", "cluster-admin", "jane");
    let (code, status) = jane.send("POST", &format!("{RBAC}/clusterrolebindings"), Some(bind)).await;
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    let same = role("same", &["configmaps"], &["get"]);
    jane.create(&format!("{RBAC}/clusterroles"), same.clone()).await;
    jane.create(&format!("{RBAC}/clusterrolebindings"), binding("same", "same", "joe")).await;
    let mut wider = same;
    wider["rules"][0]["resources"] = json!(["*"]);
    assert_eq!(jane.send("PUT", &format!("{RBAC}/clusterroles/same"), Some(wider)).await.0, 403);
    let gone = binding("gone", "gone", "joe");
    let (code, status) = jane.send("POST", &format!("{RBAC}/clusterrolebindings"), Some(gone)).await;
    let message = "clusterrolebindings.rbac.authorization.k8s.io \"gone\" not found";
    assert_eq!((code, &status["message"]), (404, &json!(message)));
}

#[tokio::test]
async fn impersonation_needs_every_part_to_be_allowed() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    let as_bob = admin.clone().header("impersonate-user", "bob").header("impersonate-group", "devs");
    let who = as_bob.whoami().await.unwrap();
    assert_eq!((&who["username"], &who["groups"]), (&json!("bob"), &json!(["devs", "system:authenticated"])));
    let account = admin.clone().header("impersonate-user", "system:serviceaccount:default:bot");
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    assert_eq!(account.whoami().await.unwrap()["groups"], groups);
    assert_eq!(as_bob.get("/api/v1/secrets").await.0, 403);
    // Jane may be bob, and nobody's groups.
    let named = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "be-bob"},
        "rules": [{"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"]}],
    });
    admin.create(&format!("{RBAC}/clusterroles"), named).await;
    admin.create(&format!("{RBAC}/clusterrolebindings"), binding("be-bob", "be-bob", "jane")).await;
    let jane = world.certified(A, "jane", &[]);
    assert_eq!(jane.clone().header("impersonate-user", "bob").whoami().await.unwrap()["username"], "bob");
    let masters = jane.clone().header("impersonate-user", "bob").header("impersonate-group", "system:masters");
    assert_eq!(masters.whoami().await, Err(403));
    assert_eq!(jane.clone().header("impersonate-user", "admin").whoami().await, Err(403));
    assert_eq!(jane.clone().header("impersonate-group", "g").whoami().await, Err(400));
    let (_, status) = jane.header("impersonate-user", "x").get("/api/v1/namespaces/default/pods").await;
    assert_eq!(
        status["message"],
        "pods is forbidden: User \"jane\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" in \
         the namespace \"default\""
    );
}

#[tokio::test]
async fn reviews_say_what_would_happen() {
    let world = World::with_two().await;
    let admin = world.admin(A);
    grant(&admin, "reader", &["configmaps"], &["list"], "jane").await;
    let review = |kind: &'static str, plural: &'static str, spec: Value| {
        let admin = admin.clone();
        async move {
            let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
            admin.send("POST", &format!("/apis/authorization.k8s.io/v1/{plural}"), Some(review)).await
        }
    };
    let ask = |user: &str, resource: &str| json!({"user": user, "resourceAttributes": {"verb": "list", "resource": resource, "namespace": "default"}});
    let (_, yes) = review("SubjectAccessReview", "subjectaccessreviews", ask("jane", "configmaps")).await;
    let reason = "RBAC: allowed by ClusterRoleBinding \"reader\" of ClusterRole \"reader\" to User \"jane\"";
    assert_eq!(yes["status"], json!({"allowed": true, "reason": reason}));
    let (_, no) = review("SubjectAccessReview", "subjectaccessreviews", ask("jane", "secrets")).await;
    assert_eq!(no["status"], json!({"allowed": false}));
    let own = json!({"resourceAttributes": {"verb": "list", "resource": "secrets"}});
    let (_, own) = review("SelfSubjectAccessReview", "selfsubjectaccessreviews", own).await;
    assert_eq!(own["status"], json!({"allowed": true}));
    let (code, empty) = review("SelfSubjectAccessReview", "selfsubjectaccessreviews", json!({})).await;
    assert_eq!(
        (code, empty["message"].as_str().unwrap()),
        (
            422,
            ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of \
             nonResourceAttributes or resourceAttributes must be specified"
        )
    );
    let rules = json!({"namespace": "default"});
    let jane = world.certified(A, "jane", &[]);
    let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": rules});
    let rules = jane.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body).await;
    let own = json!({"verbs": ["list"], "apiGroups": ["*"], "resources": ["configmaps"]});
    assert!(rules["status"]["resourceRules"].as_array().unwrap().contains(&own), "{rules}");
    assert_eq!(rules["status"]["incomplete"], json!(false));
}
