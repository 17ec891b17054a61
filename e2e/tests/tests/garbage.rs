//! Garbage on the wire: a clear `Status` or a closed connection, never a panic, and the next request is served.

use std::io::{Read, Write};

use e2e::wire::{Answer, Wire};
use e2e::{Cluster, Error, must, panics};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "Content-Type: application/json";
const PROTOBUF: &str = "Content-Type: application/vnd.kubernetes.protobuf";

/// What was wrong with the answers to many requests, so that one run tells all.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    /// The answer must have one of the codes and be clear, and the next request must be served.
    fn refused(&mut self, wire: &Wire, what: &str, codes: &[u16], answer: &Answer) -> Result<(), Error> {
        // Where no API is, a stock server says so in plain text.
        let clear = answer.code == 201
            || answer.is_clear_status()
            || answer.code == 404 && answer.body == b"404 page not found\n";
        if !codes.contains(&answer.code) || !clear {
            let text: String = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
            self.0
                .push(format!("{what}: want one of {codes:?} and a Status with a message, got {} {text}", answer.code));
        }
        served(wire, what)
    }

    fn none(self) -> Result<(), Error> {
        must("wrong answers", self.0.is_empty(), self.0.join("\n"))?;
        for (counter, count) in panics()? {
            must(&counter, count == 0, count)?;
        }
        Ok(())
    }
}

fn served(wire: &Wire, what: &str) -> Result<(), Error> {
    let next = wire.request("GET", "/api/v1/namespaces/default", &[], b"")?;
    must(&format!("the request after: {what}"), next.code == 200, next.code)
}

/// What it is, method, path, a header, the body, and the codes that are right.
type Case<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [u8], &'a [u16]);

fn nested(open: &str, close: &str, levels: usize) -> Vec<u8> {
    let inside = [open.repeat(levels), close.repeat(levels)].concat();
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"deep"}},"data":{inside}}}"#).into_bytes()
}

/// Left out on simulated nodes (`make test` says so): there the server's metrics are not where the test reads them.
mod real {
    use super::*;

    #[test]
    fn bodies_that_are_malformed_or_too_large_or_too_deep_get_a_status() -> Result<(), Error> {
        let wire = Wire::to(&Cluster::demo()?)?;
        let yaml = "Content-Type: application/yaml";
        let apply = "Content-Type: application/apply-patch+yaml";
        let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let large = vec![b'a'; 4 << 20];
        let large_json = [&br#"{"apiVersion":"v1","kind":"ConfigMap","data":{"a":""#[..], &large, b"\"}}"].concat();
        let deep_yaml =
            format!("apiVersion: v1\nkind: ConfigMap\ndata: {}{}\n", "[".repeat(10_000), "]".repeat(10_000));
        let bombs = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
        let unknown_length = [&b"k8s\0"[..], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat();
        let protobuf_groups = [&b"k8s\0"[..], &[0x0b; 20_000]].concat();
        // An Unknown whose raw bytes nest one message in another two thousand times.
        let mut inner = Vec::new();
        for _ in 0..2_000 {
            inner = [&[0x0a][..], &varint(inner.len()), &inner].concat();
        }
        let deep_protobuf = [&b"k8s\0"[..], &[0x12], &varint(inner.len()), &inner].concat();
        let lone = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"\ud800"}}"#;
        let cases: Vec<Case<'_>> = vec![
            ("half of a JSON object", "POST", MAPS, JSON, br#"{"apiVersion":"v1","kind":"#, &[400]),
            ("no body", "POST", MAPS, JSON, b"", &[400]),
            ("JSON null", "POST", MAPS, JSON, b"null", &[422]),
            ("a JSON list", "POST", MAPS, JSON, b"[]", &[400]),
            ("a JSON string", "POST", MAPS, JSON, b"\"x\"", &[400]),
            (
                "bytes that are no UTF-8",
                "POST",
                MAPS,
                JSON,
                b"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"\xff\xfe\"}}",
                &[400, 422],
            ),
            ("half of a surrogate pair", "POST", MAPS, JSON, lone.as_bytes(), &[400, 422]),
            (
                "a number beyond all bounds",
                "POST",
                MAPS,
                JSON,
                br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"n","generation":1e999999}}"#,
                &[400],
            ),
            (
                "fields of the wrong type",
                "POST",
                MAPS,
                JSON,
                br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":7,"labels":[1]}}"#,
                &[400],
            ),
            (
                "a kind that does not exist",
                "POST",
                MAPS,
                JSON,
                br#"{"apiVersion":"v1","kind":"Nonsense","metadata":{"name":"n"}}"#,
                &[400],
            ),
            (
                "another kind",
                "POST",
                MAPS,
                JSON,
                br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"n"}}"#,
                &[400],
            ),
            ("no kind", "POST", MAPS, JSON, br#"{"metadata":{"name":"n"}}"#, &[201, 409]),
            (
                "a version that does not exist",
                "POST",
                MAPS,
                JSON,
                br#"{"apiVersion":"v9","kind":"ConfigMap","metadata":{"name":"n"}}"#,
                &[400],
            ),
            ("malformed YAML", "POST", MAPS, yaml, b"a: [b\n\tc: }", &[400]),
            ("YAML that unfolds to a billion", "POST", MAPS, yaml, bombs.as_bytes(), &[400]),
            ("YAML that refers to itself", "POST", MAPS, yaml, b"a: &a [*a]", &[400]),
            ("YAML ten thousand levels deep", "POST", MAPS, yaml, deep_yaml.as_bytes(), &[400]),
            (
                "YAML patch that is none",
                "PATCH",
                "/api/v1/namespaces/default/configmaps/x?fieldManager=t",
                apply,
                b"\x00\x01",
                &[400],
            ),
            ("protobuf without its magic", "POST", MAPS, PROTOBUF, b"nonsense", &[400]),
            ("protobuf that ends too soon", "POST", MAPS, PROTOBUF, b"k8s\0\x0a\x10ab", &[400]),
            ("protobuf of an absurd length", "POST", MAPS, PROTOBUF, &unknown_length, &[400]),
            ("protobuf groups in groups", "POST", MAPS, PROTOBUF, &protobuf_groups, &[400]),
            ("protobuf in protobuf", "POST", MAPS, PROTOBUF, &deep_protobuf, &[400, 422]),
            ("4 MB of JSON", "POST", MAPS, JSON, &large_json, &[413]),
            ("4 MB of nothing", "POST", MAPS, JSON, &large, &[413]),
            ("4 MB of protobuf", "POST", MAPS, PROTOBUF, &large, &[413]),
            ("a content type that no one knows", "POST", MAPS, "Content-Type: text/nonsense", b"{}", &[415]),
            ("a content type that is none", "POST", MAPS, "Content-Type: ;;;=", b"{}", &[415]),
            ("a patch of no type", "PATCH", "/api/v1/namespaces/default/configmaps/x", JSON, b"{}", &[415]),
            (
                "a JSON patch that is none",
                "PATCH",
                "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
                "Content-Type: application/json-patch+json",
                br#"[{"op":"explode"}]"#,
                &[400, 422],
            ),
            (
                "a merge patch that is none",
                "PATCH",
                "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
                "Content-Type: application/merge-patch+json",
                b"[1]",
                &[400, 422],
            ),
            ("protobuf for a kind that has none", "POST", crds, PROTOBUF, b"k8s\0", &[400]),
        ];
        let list_levels = nested("[", "]", 10_000);
        let map_levels = nested(r#"{"a":"#, "1}", 10_000);
        let deep: Vec<Case<'_>> = vec![
            ("lists ten thousand levels deep", "POST", MAPS, JSON, &list_levels, &[400]),
            (
                "a strategic patch as deep",
                "PATCH",
                "/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
                "Content-Type: application/strategic-merge-patch+json",
                &list_levels,
                &[400],
            ),
            ("malformed and deep", "POST", MAPS, JSON, &map_levels, &[400]),
        ];
        let mut wrong = Wrong::default();
        for (what, method, path, header, body, codes) in cases.into_iter().chain(deep) {
            match wire.try_request(method, path, &[header], body)? {
                Some(answer) => wrong.refused(&wire, what, codes, &answer)?,
                None if codes == [413] => served(&wire, what)?,
                None => wrong.0.push(format!("{what}: no answer")),
            }
        }
        // A client that reads while it writes is told.
        let large = String::from_utf8_lossy(&large_json).into_owned();
        let told = Cluster::demo()?.kubectl_with_input(&["create", "--validate=false", "--filename", "-"], &large);
        let told = told.err().map(|e| e.to_string()).unwrap_or_default();
        must("what kubectl is told of 4 MB", told.to_lowercase().contains("too large"), told)?;
        wrong.none()
    }

    #[test]
    fn requests_that_make_no_sense_get_a_status() -> Result<(), Error> {
        let wire = Wire::to(&Cluster::demo()?)?;
        let long = "x".repeat(2_000);
        let absurd = format!("{MAPS}/{}", "%2e%2e%2f".repeat(20));
        let segments = format!("{MAPS}{}", "/x".repeat(3_000));
        let long_name = format!("{MAPS}/{long}");
        let bad_limit = format!("{MAPS}?limit=minus&resourceVersion=never");
        let bad_continue = format!("{MAPS}?limit=1&continue=%00%ff");
        let bad_selector = format!("{MAPS}?labelSelector=%28%28%28,,==");
        let bad_field = format!("{MAPS}?fieldSelector=spec.nonsense%3Dx");
        let bad_watch = format!("{MAPS}?watch=true&resourceVersion=99999999999999999999999999");
        let cases: Vec<(&str, &str, &str, &[u16])> = vec![
            ("GET", "/apis/no.such.group/v1/things", "an unknown group", &[404]),
            ("GET", "/api/v1/namespaces/default/nonsenses", "an unknown kind", &[404]),
            ("GET", &long_name, "a name of 2,000 letters", &[404]),
            ("GET", &absurd, "a name that climbs", &[404]),
            ("GET", &segments, "3,000 segments", &[404, 400]),
            ("POST", "/api/v1/namespaces/default/configmaps/x/nonsense", "an unknown subresource", &[404, 405]),
            ("GET", "/api/v1/namespaces/%00/configmaps/%ff%fe", "bytes that are no name", &[404, 400]),
            ("GET", &bad_limit, "parameters that are no numbers", &[400]),
            ("GET", &bad_continue, "a continue token that is none", &[400]),
            ("GET", &bad_selector, "a selector that is none", &[400]),
            ("GET", &bad_field, "a field that cannot be selected", &[400]),
            ("GET", &bad_watch, "a watch from a revision that is none", &[500]),
            ("BREW", MAPS, "a method that no one knows", &[405]),
        ];
        let mut wrong = Wrong::default();
        for (method, path, what, codes) in cases {
            wrong.refused(&wire, what, codes, &wire.request(method, path, &[], b"")?)?;
        }
        for name in ["", "UPPER", "a/b", "..", "-x", "x y", "\\u0000", &long] {
            let body = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}}}}"#);
            let answer = wire.request("POST", MAPS, &[JSON], body.as_bytes())?;
            wrong.refused(&wire, &format!("the name {name:.20?}"), &[422], &answer)?;
        }
        wrong.none()
    }

    #[test]
    fn connections_that_speak_no_http_are_closed() -> Result<(), Error> {
        let wire = Wire::to(&Cluster::demo()?)?;
        let many_headers = format!("GET /version HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(10_000));
        let long_header = format!("GET /version HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(2 << 20));
        let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "b".repeat(2 << 20));
        let frames = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 4096]].concat();
        let garbage: Vec<(&str, Vec<u8>)> = vec![
            ("garbage", b"\x00\x01\x02nonsense\r\n\r\n".to_vec()),
            ("no version", b"GET /version\r\n\r\n".to_vec()),
            ("an unknown version", b"GET /version HTTP/9.9\r\nHost: x\r\n\r\n".to_vec()),
            ("a broken header", b"GET /version HTTP/1.1\r\n: : \x00\r\n\r\n".to_vec()),
            (
                "two lengths",
                b"POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec(),
            ),
            ("a length that is none", b"POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n".to_vec()),
            (
                "chunks that are none",
                b"POST /version HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n".to_vec(),
            ),
            ("10,000 headers", many_headers.into_bytes()),
            ("a header of 2 MB", long_header.into_bytes()),
            ("a path of 2 MB", long_path.into_bytes()),
            ("HTTP/2 frames that are none", frames),
        ];
        for (what, bytes) in garbage {
            if let Some(answer) = wire.send(&bytes)? {
                must(what, (400..=505).contains(&answer.code), answer.code)?;
            }
            served(&wire, what)?;
        }
        Wrong::default().none()
    }

    #[test]
    fn connections_that_speak_no_tls_or_are_slow_are_closed() -> Result<(), Error> {
        let wire = Wire::to(&Cluster::demo()?)?;
        let hello = client_hello(&wire)?;
        let starts: Vec<(&str, Vec<u8>)> = vec![
            ("a TLS hello that ends in the middle", hello[..hello.len() / 2].to_vec()),
            ("a TLS hello of garbage", [&[0x16, 3, 1, 2, 0][..], &[0xee; 512]].concat()),
            ("HTTP without TLS", b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
            ("nothing", Vec::new()),
        ];
        // All at once: those that are slow are given up by the server after a while.
        let mut open = Vec::new();
        for (what, bytes) in starts {
            let mut stream = wire.tcp()?;
            let _ = stream.write_all(&bytes);
            open.push((what, stream));
        }
        let mut slow = wire.tls()?;
        let begun = slow.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\nA: ").and_then(|()| slow.flush());
        begun.map_err(|source| Error::Wire { what: "begin a request".to_owned(), source })?;
        served(&wire, "slow connections are open")?;
        for (what, mut stream) in open {
            let mut rest = Vec::new();
            closed(what, stream.read_to_end(&mut rest))?;
        }
        let mut rest = Vec::new();
        closed("a request whose headers never end", slow.read_to_end(&mut rest))?;
        served(&wire, "slow connections were closed")?;
        Wrong::default().none()
    }
}

fn varint(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// The first bytes that a TLS client sends.
fn client_hello(wire: &Wire) -> Result<Vec<u8>, Error> {
    let mut stream = wire.tls()?;
    let mut hello = Vec::new();
    stream.conn.write_tls(&mut hello).map_err(|source| Error::Wire { what: "write a hello".to_owned(), source })?;
    Ok(hello)
}

/// Closed, with or without an alert; a read that times out is a connection that the server forgot.
fn closed(what: &str, read: std::io::Result<usize>) -> Result<(), Error> {
    match read {
        Err(source) if matches!(source.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            Err(Error::Wire { what: format!("{what}: the connection stays open"), source })
        }
        _ => Ok(()),
    }
}
