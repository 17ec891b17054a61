use serde_json::json;

use super::*;
use crate::builtin;
use crate::gvk::GroupVersionKind;
use crate::schema::KindSchema;

fn schema(group: &str, version: &str, kind: &str) -> (KindSchema, GroupVersionKind) {
    let kind = GroupVersionKind::new(group, version, kind);
    (builtin::kind_schema(&kind).unwrap(), kind)
}

fn canonical(group: &str, kind: &str, value: Value) -> Canonical {
    let (schema, gvk) = schema(group, "v1", kind);
    canonicalise(&schema, &gvk, kind, value).unwrap()
}

fn config_map(body: &str) -> Result<Canonical, String> {
    let (schema, kind) = schema("", "v1", "ConfigMap");
    decode_json(&schema, &kind, body.as_bytes(), Limits::of("ConfigMap")).map_err(|e| e.message)
}

#[test]
fn a_deployment_becomes_what_go_would_write() {
    let got = canonical(
        "apps",
        "Deployment",
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "d", "labels": {}, "creationTimestamp": null, "annotations": {"a": null}},
            "spec": {
                "replicas": 0, "paused": false,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"containers": [{
                    "name": "c", "image": "", "command": [],
                    "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}},
                    "ports": [{"containerPort": 80}],
                    "livenessProbe": {"httpGet": {"port": "http"}, "initialDelaySeconds": 0},
                }]}},
            },
            "status": {"replicas": 0},
        }),
    );
    assert_eq!(
        got.value,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "d", "annotations": {"a": ""}},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"a": "b"}},
                "strategy": {},
                "template": {"metadata": {}, "spec": {"containers": [{
                    "name": "c", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                    "ports": [{"containerPort": 80}],
                    "livenessProbe": {"httpGet": {"port": "http"}},
                }]}},
            },
            "status": {},
        })
    );
    assert!(got.strict.is_empty());
    assert_eq!(canonical("apps", "Deployment", got.value.clone()), got);
}

#[test]
fn what_go_always_writes_is_written() {
    let service = canonical("", "Service", json!({"spec": {"ports": [{"port": 80}]}})).value;
    assert_eq!(service["spec"]["ports"][0], json!({"port": 80, "targetPort": 0}));
    assert_eq!(service["status"], json!({"loadBalancer": {}}));
    let pod = canonical("", "Pod", json!({})).value;
    assert_eq!(pod, json!({"metadata": {}, "spec": {"containers": null}, "status": {}}));
    let role = canonical("rbac.authorization.k8s.io", "ClusterRole", json!({})).value;
    assert_eq!(role, json!({"metadata": {}, "rules": null}));
    let revision = canonical("apps", "ControllerRevision", json!({})).value;
    assert_eq!(revision, json!({"metadata": {}, "data": null, "revision": 0}));
}

#[test]
fn scalars_are_normalised() {
    let lease = json!({"spec": {"renewTime": "2024-01-01T01:00:00.000001+01:00"}});
    assert_eq!(
        canonical("coordination.k8s.io", "Lease", lease).value["spec"]["renewTime"],
        "2024-01-01T00:00:00.000001Z"
    );
    let secret = json!({"data": {"a": "aGk=\n", "b": [104, 105], "c": null}});
    assert_eq!(canonical("", "Secret", secret).value["data"], json!({"a": "aGk=", "b": "aGk=", "c": null}));
    let crd = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": {
        "maximum": 5.0, "multipleOf": 0.5, "default": {"b": null}, "items": {"x": 1, "type": "string"}, "additionalProperties": false,
    }}}]}});
    let got = canonical("apiextensions.k8s.io", "CustomResourceDefinition", crd);
    assert_eq!(
        got.value["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
        json!({"maximum": 5, "multipleOf": 0.5, "default": {"b": null}, "items": {"type": "string"}, "additionalProperties": false})
    );
    assert!(got.strict.is_empty(), "types that read their own JSON do not complain: {:?}", got.strict);
}

#[test]
fn strict_complaints_come_in_the_order_of_the_text() {
    let body = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","foo":1},"data":{"a":"1","a":"2"},"x":1,"data":{"c":"d"}}"#;
    let got = config_map(body).unwrap();
    let want = [
        r#"unknown field "metadata.foo""#,
        r#"duplicate field "data.a""#,
        r#"unknown field "x""#,
        r#"duplicate field "data""#,
    ];
    assert_eq!(got.strict, want);
    assert_eq!(got.value["data"], json!({"a": "2", "c": "d"}));
    assert_eq!(parse(Format::Json, body.as_bytes(), Limits::of("ConfigMap")).unwrap().duplicates, [want[1], want[3]]);
}

#[test]
fn a_field_that_comes_twice_grows_together_or_goes_with_null() {
    for (body, want) in [
        (r#"{"data":{"a":"1"},"data":null}"#, json!({"metadata": {}})),
        (r#"{"data":null,"data":{"a":"1"}}"#, json!({"metadata": {}, "data": {"a": "1"}})),
        (r#"{"immutable":true,"immutable":false}"#, json!({"metadata": {}, "immutable": false})),
        (
            r#"{"metadata":{"name":"a"},"metadata":{"generateName":"b"}}"#,
            json!({"metadata": {"name": "a", "generateName": "b"}}),
        ),
    ] {
        assert_eq!(config_map(body).unwrap().value, want, "{body}");
    }
}

#[test]
fn paths_of_complaints_name_items_and_keys() {
    let got = canonical(
        "",
        "Pod",
        json!({"spec": {"containers": [{"name": "a", "image2": 1}, {"env": [{"nam": 1}]}], "nodeSelector": {"a": "b"}}}),
    );
    assert_eq!(
        got.strict,
        [r#"unknown field "spec.containers[0].image2""#, r#"unknown field "spec.containers[1].env[0].nam""#]
    );
}

/// Messages that a stock kube-apiserver 1.36.3 gave for these bodies.
#[test]
fn bad_objects_are_refused_in_the_words_of_the_stock_server() {
    let object = |rest: &str| format!(r#"{{"kind":"ConfigMap","apiVersion":"v1",{rest}}}"#);
    for (rest, want) in [
        (
            r#""metadata":{"labels":"x"}"#,
            "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            r#""metadata":{"labels":{"a":1}}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#""metadata":{"finalizers":[1]}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.finalizers of type string",
        ),
        (
            r#""metadata":{"creationTimestamp":"foo"}"#,
            r#"parsing time "foo" as "2006-01-02T15:04:05Z07:00": cannot parse "foo" as "2006""#,
        ),
        (
            r#""metadata":{"creationTimestamp":1}"#,
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
        ),
        (
            r#""metadata":[]"#,
            "json: cannot unmarshal array into Go struct field ConfigMap.metadata of type v1.ObjectMeta",
        ),
        (r#""binaryData":{"a":"x"}"#, "illegal base64 data at input byte 0"),
        (r#""immutable":"x""#, "json: cannot unmarshal string into Go struct field ConfigMap.immutable of type bool"),
        (
            r#""metadata":{"generation":1.0}"#,
            "json: cannot unmarshal number 1.0 into Go struct field ObjectMeta.metadata.generation of type int64",
        ),
    ] {
        let want = format!(r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: {want}"#);
        assert_eq!(config_map(&object(rest)).unwrap_err(), want);
    }
}

/// Messages that a stock kube-apiserver 1.36.3 gave for these bodies.
#[test]
fn bad_pods_are_refused_in_the_words_of_the_stock_server() {
    let (schema, kind) = schema("", "v1", "Pod");
    let quantity = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    for (spec, want) in [
        (
            r#"{"volumes":[{"name":"a","emptyDir":"x"}]}"#,
            "json: cannot unmarshal string into Go struct field Volume.spec.volumes.VolumeSource.emptyDir of type v1.EmptyDirVolumeSource",
        ),
        (
            r#"{"containers":[{"livenessProbe":{"httpGet":{"port":true}}}]}"#,
            "json: cannot unmarshal bool into Go struct field HTTPGetAction.spec.containers.livenessProbe.ProbeHandler.httpGet.port of type int32",
        ),
        (
            r#"{"containers":[{"livenessProbe":{"httpGet":1}}]}"#,
            "json: cannot unmarshal number into Go struct field Probe.spec.containers.livenessProbe.ProbeHandler.httpGet of type v1.HTTPGetAction",
        ),
        (r#"{"containers":[{"resources":{"limits":{"cpu":"abc"}}}]}"#, quantity),
        (r#"{"containers":[{"resources":{"limits":{"cpu":true}}}]}"#, quantity),
        (
            r#"{"containers":[{"resources":{"limits":[]}}]}"#,
            "json: cannot unmarshal array into Go struct field ResourceRequirements.spec.containers.resources.limits of type v1.ResourceList",
        ),
        (
            r#"{"restartPolicy":1}"#,
            "json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (
            r#"{"tolerations":[{"operator":1}],"hostAliases":1}"#,
            "json: cannot unmarshal number into Go struct field Toleration.spec.tolerations.operator of type v1.TolerationOperator",
        ),
        (
            r#"{"containers":{}}"#,
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            r#"{"containers":["x"]}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container",
        ),
        (
            r#"{"ephemeralContainers":[{"name":1}]}"#,
            "json: cannot unmarshal number into Go struct field EphemeralContainer.spec.ephemeralContainers.EphemeralContainerCommon.name of type string",
        ),
        (
            r#"{"terminationGracePeriodSeconds":"1","priority":99999999999}"#,
            "json: cannot unmarshal string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64",
        ),
    ] {
        let body = format!(r#"{{"kind":"Pod","apiVersion":"v1","spec":{spec}}}"#);
        let error = decode_json(&schema, &kind, body.as_bytes(), Limits::of("Pod")).unwrap_err();
        assert_eq!(error.message, format!(r#"Pod in version "v1" cannot be handled as a Pod: {want}"#));
    }
}

#[test]
fn a_body_that_does_not_tell_its_kind_is_refused() {
    for (body, want) in [
        (
            "[]",
            r#"couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" } (5b5d)"#,
        ),
        (
            r#"{"kind":1}"#,
            r#"couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string ({"kind":1})"#,
        ),
        (r#"{"apiVersion":"a/b/c"}"#, r#"unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c"})"#),
    ] {
        let want = format!("the object provided is unrecognized (must be of type ConfigMap): {want}");
        assert_eq!(parse(Format::Json, body.as_bytes(), Limits::of("ConfigMap")).unwrap_err().message, want);
    }
    assert_eq!(parse(Format::Json, b"null", Limits::of("ConfigMap")).unwrap().value, Value::Null);
}

/// Messages that a stock kube-apiserver 1.36.3 gave for these bodies.
#[test]
fn malformed_json_is_refused_in_the_words_of_the_stock_server() {
    for (body, want) in [
        ("", "unexpected end of JSON input (<empty>)"),
        ("x", "invalid character 'x' looking for beginning of value (78)"),
        ("{", "unexpected end of JSON input ({)"),
        (r#"{"a""#, r#"unexpected end of JSON input ({"a")"#),
        ("{a}", "invalid character 'a' looking for beginning of object key string ({a})"),
        (r#"{"a":1,}"#, r#"invalid character '}' looking for beginning of object key string ({"a":1,})"#),
        (r#"{"a":[1,}"#, r#"invalid character '}' looking for beginning of value ({"a":[1,})"#),
        (r#"{"a":tru}"#, r#"invalid character '}' in literal true (expecting 'e') ({"a":tru})"#),
        (r#"{"a":01}"#, r#"invalid character '1' after object key:value pair ({"a":01})"#),
        (r#"{"a":"\x"}"#, r#"invalid character 'x' in string escape code ({"a":"\x"})"#),
        ("{} {}", "invalid character '{' after top-level value ({} {})"),
        (r#"[1 2]"#, "invalid character '2' after array element (5b3120325d)"),
    ] {
        let want = format!(
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: {want}"
        );
        assert_eq!(parse(Format::Json, body.as_bytes(), Limits::of("ConfigMap")).unwrap_err().message, want);
        assert_eq!(config_map(body).unwrap_err(), want);
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_exhaust_the_stack() {
    for body in [
        "[".repeat(10_000),
        r#"{"a":"#.repeat(10_000),
        format!(r#"{{"data":{}1{}}}"#, "[".repeat(200), "]".repeat(200)),
    ] {
        let error = parse(Format::Json, body.as_bytes(), Limits::of("Pod")).unwrap_err();
        assert!(error.code == 400 && error.message.contains("exceeded max depth"), "{}", error.message);
        assert!(config_map(&body).is_err());
    }
}

#[test]
fn text_that_is_not_quite_unicode_is_repaired_as_go_does() {
    assert_eq!(
        config_map(r#"{"data":{"a":"x\ud800y","b":"\ud83d\ude00"}}"#).unwrap().value["data"],
        json!({"a": "x\u{fffd}y", "b": "😀"})
    );
    let parsed = parse(Format::Json, b"{\"a\":\"\xff\"}", Limits::of("Pod")).unwrap();
    assert_eq!(parsed.value, json!({"a": "\u{fffd}"}));
}

fn yaml(text: &str) -> Result<Parsed, String> {
    parse(Format::Yaml, text.as_bytes(), Limits::of("ConfigMap")).map_err(|e| e.message)
}

#[test]
fn yaml_scalars_are_those_of_go_yaml() {
    let text = "a: 1\nb: yes\nc: 0x10\nd: 017\ne: 1_000\nf: 1e3\ng: 1.5\nh: 2001-01-01\ni: ~\nj: 'yes'\nk: 0o17\nl: -5\n\
                m: 190:20:30\nn: 18446744073709551615\no: !!str 1\np: |\n  x\n  y\n1: x\ntrue: y\n";
    assert_eq!(
        yaml(text).unwrap().value,
        json!({
            "a": 1, "b": true, "c": 16, "d": 15, "e": 1000, "f": 1000, "g": 1.5, "h": "2001-01-01", "i": null, "j": "yes",
            "k": 15, "l": -5, "m": "190:20:30", "false": 18446744073709551615u64, "o": "1", "p": "x\ny\n", "1": "x", "true": true,
        })
    );
}

#[test]
fn yaml_anchors_merges_and_documents() {
    let text = "a: &x {b: 1, c: 2}\nd: *x\ne:\n  <<: *x\n  c: 3\n---\nsecond: document\n";
    let one = json!({"b": 1, "c": 2});
    assert_eq!(yaml(text).unwrap().value, json!({"a": one, "d": one, "e": {"b": 1, "c": 3}}));
    let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        format!("{text}a{i}: &a{i} [{items}]\n")
    });
    assert!(yaml(&bomb).unwrap_err().contains("excessive aliasing"));
    assert!(yaml(&"[".repeat(10_000)).is_err() && yaml("a: &a [*a]").is_err());
}

/// Messages that a stock kube-apiserver 1.36.3 gave for these bodies.
#[test]
fn yaml_complaints_are_those_of_the_stock_server() {
    let text = "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: a\ndata:\n  a: \"1\"\n  a: \"2\"\nx: 1\ndata: {}\n";
    let want =
        "yaml: unmarshal errors:\n  line 7: key \"a\" already set in map\n  line 9: key \"data\" already set in map";
    assert_eq!(yaml(text).unwrap().duplicates, [want]);
    for (text, want) in [
        ("a: *x", "yaml: unknown anchor 'x' referenced (613a202a78)"),
        ("a: !!binary x", "yaml: !!binary value contains invalid base64 data (613a20212162696e6172792078)"),
        ("a: .inf", "json: unsupported value: +Inf (613a202e696e66)"),
    ] {
        assert_eq!(
            yaml(text).unwrap_err(),
            format!("the object provided is unrecognized (must be of type ConfigMap): {want}")
        );
    }
    assert_eq!(yaml("").unwrap().value, Value::Null);
    assert!(
        yaml("- a").unwrap_err().contains("cannot unmarshal array into Go value of type struct { APIVersion string")
    );
}

#[test]
fn written_yaml_reads_back() {
    let value = json!({"a": "yes", "b": ["1", 1, null, true, ""], "c": {"d": "x\ny\n", "e": {}}, "f": "y", "g": "2001-01-01", "h": "0x1", "i": "~", "j": "<<", "k": "1_0", "l": "a\n\n b \n\n", "m": " x", "n": "a: b", "o": "a #b", "p": ["\t", "-", "é", "1:30"], "q": "\n", "y": {"": [[1], []]}});
    let text = to_yaml(&value);
    assert_eq!(yaml(&text).unwrap().value, value, "{text}");
    assert_eq!(
        to_yaml(&json!({"a": [{"b": [1], "c": {}}], "d": "x\ny"})),
        "a:\n- b:\n  - 1\n  c: {}\nd: |-\n  x\n  y\n"
    );
}

/// An empty and a full object of every kind, as Go's own codecs write them.
#[test]
fn every_kind_reads_and_writes_as_in_go() {
    type Vector = (String, String, String, Value, Value, Option<String>, Option<String>);
    let packed = include_bytes!("../../data/testvectors.json.zst");
    let vectors: Vec<Vector> = serde_json::from_slice(&zstd::decode_all(&packed[..]).unwrap()).unwrap();
    assert!(vectors.len() > 200);
    let mut failures = Vec::new();
    for (group, version, kind, empty, full, empty_bytes, full_bytes) in vectors {
        let gvk = GroupVersionKind::new(group, version, kind.as_str());
        let schema = builtin::kind_schema(&gvk).unwrap();
        for (start, want, bytes) in [(json!({}), &empty, empty_bytes), (full.clone(), &full, full_bytes)] {
            let got = canonicalise(&schema, &gvk, &kind, start).unwrap();
            if got.value != *want || !got.strict.is_empty() {
                failures.push(format!("{gvk:?}: JSON {} is not {want} {:?}", got.value, got.strict));
            }
            let Some(bytes) = bytes else { continue };
            use base64::Engine;
            let bytes = base64::engine::general_purpose::STANDARD.decode(bytes).unwrap();
            let decoded = protobuf_decode_raw(&schema, &bytes).unwrap();
            if decoded != *want {
                failures.push(format!("{gvk:?}: protobuf {decoded} is not {want}"));
            }
            let mut again = Vec::new();
            protobuf_encode_raw(&schema, decoded.to_string().as_bytes(), &mut again).unwrap();
            if protobuf_decode_raw(&schema, &again).unwrap() != *want {
                failures.push(format!("{gvk:?}: own protobuf differs"));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures, first: {}",
        failures.len(),
        failures[..failures.len().min(5)].join("\n")
    );
}

fn pod() -> (KindSchema, GroupVersionKind, Value) {
    let (schema, kind) = schema("", "v1", "Pod");
    let value = json!({
        "metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "500m"}}}], "volumes": [{"name": "v", "emptyDir": {}}]},
    });
    let value = canonicalise(&schema, &kind, "Pod", value).unwrap().value;
    (schema, kind, value)
}

#[test]
fn protobuf_goes_through_its_envelope() {
    let (schema, kind, mut value) = pod();
    let mut bytes = Vec::new();
    protobuf_encode(&schema, &kind, value.to_string().as_bytes(), &mut bytes).unwrap();
    let decoded = protobuf_decode(builtin::kind_schema, &kind, &bytes).unwrap();
    value["apiVersion"] = json!("v1");
    value["kind"] = json!("Pod");
    assert_eq!(decoded, (kind.clone(), value.clone()));
    let mut frame = Vec::new();
    let write = |out: &mut Vec<u8>| protobuf_encode(&schema, &kind, value.to_string().as_bytes(), out);
    protobuf_watch_frame("ADDED", &mut frame, write).unwrap();
    assert_eq!(u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize, frame.len() - 4);
    let event = builtin::kind_schema(&GroupVersionKind::new("meta.k8s.io", "v1", "WatchEvent")).unwrap();
    assert!(protobuf_decode_raw(&event, &frame[4..]).is_err(), "the object of a frame is no JSON");
}

#[test]
fn protobuf_is_written_from_any_json_of_the_server() {
    let (schema, _) = schema("", "v1", "ConfigMap");
    let text: String = (0..0x500).filter_map(char::from_u32).chain(['\u{ffff}', '😀']).collect();
    for data in [json!({"a": text, "": "", "b\"\n": "\\"}), json!({"long": "x".repeat(20_000)}), json!({})] {
        let value = json!({"metadata": {"annotations": data}, "binaryData": {"a": "aGk="}, "data": data, "immutable": true, "unknown": [{"a": ["]", 1, null]}]});
        let mut out = Vec::new();
        protobuf_encode_raw(&schema, value.to_string().as_bytes(), &mut out).unwrap();
        let decoded = protobuf_decode_raw(&schema, &out).unwrap();
        let or_null = |value: &Value| if *value == json!({}) { Value::Null } else { value.clone() };
        assert_eq!(decoded["data"], or_null(&data));
        assert_eq!(decoded["metadata"]["annotations"], or_null(&data));
        assert_eq!((&decoded["binaryData"], &decoded["immutable"]), (&json!({"a": "aGk="}), &json!(true)));
    }
}

#[test]
fn what_is_no_json_of_the_server_is_refused_without_harm() {
    let (schema, _, value) = pod();
    let json = value.to_string();
    for end in 0..json.len() {
        assert_eq!(protobuf_encode_raw(&schema, &json.as_bytes()[..end], &mut Vec::new()), Err(Malformed::Json));
        let mut flipped = json.clone().into_bytes();
        flipped[end] ^= 0x15;
        let _ = protobuf_encode_raw(&schema, &flipped, &mut Vec::new());
    }
    for bad in ["", "{", "{\"a\"", "{\"spec\":}", "{\"metadata\":{\"name\":\"\\", "{} ", "{\"a\" : 1}", "]"] {
        assert_eq!(protobuf_encode_raw(&schema, bad.as_bytes(), &mut Vec::new()), Err(Malformed::Json), "{bad}");
    }
    assert_eq!(protobuf_encode_raw(&schema, &b"[".repeat(1_000_000), &mut Vec::new()), Err(Malformed::Json));
    let secrets = builtin::kind_schema(&GroupVersionKind::new("", "v1", "Secret")).unwrap();
    for bad in ["a", "aGk", "a*==", "aGk=\\n", "-_=="] {
        let secret = format!("{{\"data\":{{\"a\":\"aGk=\",\"b\":\"{bad}\"}}}}");
        assert_eq!(protobuf_encode_raw(&secrets, secret.as_bytes(), &mut Vec::new()), Err(Malformed::Base64), "{bad}");
    }
}

#[test]
fn protobuf_lists_are_written_item_by_item() {
    let (schema, _, value) = pod();
    let list = GroupVersionKind::new("", "v1", "PodList");
    let meta = builtin::list_meta();
    let mut items = Vec::new();
    for _ in 0..2 {
        protobuf_list_item(&schema, value.to_string().as_bytes(), &mut items).unwrap();
    }
    let mut bytes = Vec::new();
    protobuf_list_head(&list, &meta, br#"{"resourceVersion":"7"}"#, items.len(), &mut bytes).unwrap();
    bytes.extend_from_slice(&items);
    bytes.extend_from_slice(ENVELOPE_TAIL);
    let (_, decoded) = protobuf_decode(builtin::kind_schema, &list, &bytes).unwrap();
    assert_eq!(decoded["items"], json!([value, value]));
    assert_eq!(decoded["metadata"], json!({"resourceVersion": "7"}));
}

#[test]
fn hostile_protobuf_is_refused_without_harm() {
    let (schema, kind, value) = pod();
    let mut bytes = Vec::new();
    protobuf_encode(&schema, &kind, value.to_string().as_bytes(), &mut bytes).unwrap();
    for end in 0..bytes.len() {
        let _ = protobuf_decode(builtin::kind_schema, &kind, &bytes[..end]);
        let mut flipped = bytes.clone();
        flipped[end] ^= 0x55;
        let _ = protobuf_decode(builtin::kind_schema, &kind, &flipped);
    }
    let (crd, _) = self::schema("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    // spec.versions.schema.openAPIV3Schema.not.not...
    let mut nested = Vec::new();
    for _ in 0..2000 {
        let mut outer = Vec::new();
        super::proto_write::bytes(29, &nested, &mut outer);
        nested = outer;
    }
    for number in [1, 1, 7, 2] {
        let mut outer = Vec::new();
        super::proto_write::bytes(number, &nested, &mut outer);
        nested = outer;
    }
    let _ = protobuf_decode_raw(&crd, &nested);
    assert_eq!(protobuf_decode_raw(&schema, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(ProtobufError::Truncated));
    assert_eq!(
        protobuf_decode_raw(&schema, &[0x08, 1]),
        Err(ProtobufError::WireType { wire: 0, field: "metadata".into() })
    );
    assert_eq!(protobuf_decode_raw(&schema, &[0xff; 11]), Err(ProtobufError::Overflow));
    for (bytes, want) in [
        (&b""[..], "empty data"),
        (b"k8s\0", "empty body"),
        (b"{}", "provided data does not appear to be a protobuf message"),
    ] {
        let error = protobuf_decode(builtin::kind_schema, &kind, bytes).unwrap_err();
        assert!(error.code == 400 && error.message.contains(want), "{}", error.message);
    }
}
