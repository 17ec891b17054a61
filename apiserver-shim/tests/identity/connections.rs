//! Which tenant a connection leads to, and whose certificates it believes.

use std::time::Duration;

use apiserver_shim::tenants::TenantSpec;
use apiserver_shim::tls::Refused;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{A, B, World};

#[tokio::test]
async fn a_certificate_is_believed_by_its_own_tenant_alone() {
    let world = World::with_two().await;
    let who = world.certified(A, "jane", &["devs"]).whoami().await.unwrap();
    assert_eq!(who["username"], "jane");
    assert_eq!(who["groups"], json!(["devs", "system:authenticated"]));
    let mut lost = world.admin(A);
    lost.name = world.anonymous(B).name;
    lost.authority = world.tenant(B).authority().clone();
    let (code, status) = lost.get("/api/v1/namespaces").await;
    assert_eq!((code, &status["reason"]), (401, &json!("Unauthorized")));
    assert_eq!(world.admin(B).get("/api/v1/namespaces").await.0, 200);
}

#[tokio::test]
async fn a_certificate_ends_although_its_connection_lives() {
    let world = World::with_two().await;
    let client = world.admin(A);
    assert_eq!(client.get("/api/v1/namespaces").await.0, 200);
    world.clock.advance(Duration::from_secs(3601));
    assert_eq!(client.get("/api/v1/namespaces").await.0, 401);
}

#[tokio::test]
async fn names_that_are_no_tenants_and_half_a_hello_are_closed_and_the_next_is_served() {
    let world = World::with_two().await;
    let mut client = world.admin(A);
    client.name = ServerName::try_from("0c0c0c0c-0c0c-0c0c-0c0c-0c0c0c0c0c0c.tenantry").unwrap();
    assert!(client.connect().await.is_err());
    client.name = ServerName::try_from("127.0.0.1").unwrap();
    assert!(client.connect().await.is_err());
    assert_eq!(world.acceptor.refused_count(Refused::UnknownTenant), 1);
    assert_eq!(world.acceptor.refused_count(Refused::NoServerName), 1);
    // A record of a client hello that says 512 bytes and ends after 20; then something that is no TLS at all.
    for bytes in [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(world.shared).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 16, "at most an alert comes back");
    }
    assert_eq!(world.acceptor.refused_count(Refused::Malformed), 2);
    assert_eq!(world.admin(A).get("/version").await.0, 200);
}

#[tokio::test]
async fn a_port_of_its_own_needs_no_name_and_leads_nowhere_else() {
    let world = World::start().await;
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    world.tenants.attach(A, TenantSpec { port, ..TenantSpec::default() }).await.unwrap();
    world.tenants.attach(B, TenantSpec::default()).await.unwrap();
    let mut client = world.certified(A, "jane", &[]);
    client.address.set_port(port);
    client.name = ServerName::try_from("127.0.0.1").unwrap();
    // The listener opens after attach has returned.
    while client.connect().await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.whoami().await.unwrap()["username"], "jane");
    // The name of another tenant changes nothing: this is A's port, with A's certificate.
    let mut other = world.admin(B);
    other.address.set_port(port);
    assert!(other.connect().await.is_err());
    world.tenants.detach(A).await.unwrap();
    while TcpStream::connect(client.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_serving_certificate_is_renewed_before_it_ends() {
    let world = World::with_two().await;
    let serial = || async {
        let stream = world.anonymous(A).connect().await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let first = serial().await;
    assert_eq!(first, serial().await);
    world.clock.advance(Duration::from_secs(5 * 24 * 3600));
    // Not valid yet for a client whose clock was not turned, so only that it changed is asked.
    let client = world.anonymous(A);
    assert!(client.connect().await.is_err());
}

#[tokio::test]
async fn spoofed_headers_make_nobody() {
    let world = World::with_two().await;
    let nobody = world.anonymous(A);
    assert_eq!(nobody.clone().get("/version").await.0, 200);
    for (name, value) in [
        ("X-Remote-User", "admin"),
        ("x-remote-group", "system:masters"),
        ("X_Remote_User", "admin"),
        ("Impersonate_User", "admin"),
        ("X-Forwarded-Client-Cert", "Subject=\"CN=admin,O=system:masters\""),
    ] {
        let (code, status) = nobody.clone().header(name, value).get("/api/v1/secrets").await;
        assert_eq!(code, 403, "{name}");
        let message = "secrets is forbidden: User \"system:anonymous\" cannot list resource \"secrets\" in API group \
                       \"\" at the cluster scope";
        assert_eq!(status["message"], message);
    }
    // Headers that a hop may drop are no way around the check of what they ask for.
    let spoof = nobody.clone().header("connection", "impersonate-user").header("impersonate-user", "admin");
    assert_eq!(spoof.get("/api/v1/secrets").await.0, 403);
    let twice = nobody.header("authorization", "Basic eDp5").header("authorization", "Bearer x");
    assert_eq!(twice.get("/version").await.0, 401);
}
