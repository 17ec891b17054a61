use serde_json::json;

use super::*;

/// Texts and messages as the stock server answered them.
#[test]
fn malformed_label_selectors_are_refused_in_stock_words() {
    let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let cases = [
        ("a=b=c", "found '=', expected: ',' or 'end of string'".to_owned()),
        ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier".to_owned()),
        ("a in", "unable to parse requirement: found '' expected: '('".to_owned()),
        ("=x", "found '=', expected: !, identifier, or 'end of string'".to_owned()),
        ("a foo b", "unable to parse requirement: found 'foo', expected: in, notin, =, ==, !=, gt, lt".to_owned()),
        ("a,", "found '', expected: identifier after ','".to_owned()),
        ("a,,", "found ',', expected: identifier after ','".to_owned()),
        (",a", "found ',', expected: !, identifier, or 'end of string'".to_owned()),
        ("-a", format!("unable to parse requirement: <nil>: Invalid value: \"-a\": {name}")),
        ("&&", format!("unable to parse requirement: <nil>: Invalid value: \"&&\": {name}")),
        ("a>=b", "unable to parse requirement: found '=', expected: identifier".to_owned()),
        ("a notin b", "unable to parse requirement: found 'b' expected: '('".to_owned()),
        ("!a=b", "found '=', expected: ',' or 'end of string'".to_owned()),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer".to_owned(),
        ),
        ("a(", "unable to parse requirement: found '(', expected: in, notin, =, ==, !=, gt, lt".to_owned()),
        ("a in (b=c)", "unable to parse requirement: found '=', expected: ',' or ')'".to_owned()),
        ("a=!b", "unable to parse requirement: found '!', expected: identifier".to_owned()),
    ];
    for (text, message) in cases {
        assert_eq!(LabelSelector::parse(text).unwrap_err().to_string(), message, "{text}");
    }
    let long = LabelSelector::parse("a=-b").unwrap_err().to_string();
    assert!(
        long.starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must be")
    );
}

#[test]
fn label_selectors_match_as_they_say() {
    let cases = [
        ("", true),
        ("app=web", true),
        ("app==web,tier!=db", true),
        ("app!=web", false),
        ("app in (web,api), missing notin (x)", true),
        ("app notin (web)", false),
        ("app", true),
        ("!app", false),
        ("!missing", true),
        ("missing", false),
        ("empty=", true),
        ("empty in (,)", true),
        ("empty in ()", true),
        ("n>4", true),
        ("n<5", false),
        ("app>1", false),
        ("in in (in)", false),
        ("example.com/x=y", true),
    ];
    let object = json!({"metadata": {"labels": {"app": "web", "empty": "", "n": "5", "example.com/x": "y"}}});
    for (text, want) in cases {
        assert_eq!(LabelSelector::parse(text).unwrap().matches_object(&object), want, "{text}");
    }
}

#[test]
fn selector_text_is_sorted_and_stable() {
    for (text, want) in [
        ("b=1, a in (z,y ,x)", "a in (x,y,z),b=1"),
        ("!a,b!=c,d==e,f>1,g<2,h,i notin (j)", "!a,b!=c,d==e,f>1,g<2,h,i notin (j)"),
    ] {
        let selector = LabelSelector::parse(text).unwrap();
        assert_eq!(selector.to_string(), want);
        assert_eq!(LabelSelector::parse(want).unwrap(), selector);
    }
}

#[test]
fn selector_objects_select_nothing_everything_or_what_they_say() {
    let object = json!({"metadata": {"labels": {"a": "1"}}});
    for (selector, want) in [
        (json!(null), false),
        (json!({}), true),
        (json!({"matchLabels": {"a": "1"}}), true),
        (json!({"matchLabels": {"a": "2"}}), false),
        (json!({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}), true),
        (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), false),
    ] {
        assert_eq!(LabelSelector::from_object(&selector).unwrap().matches_object(&object), want, "{selector}");
    }
    let error = LabelSelector::from_object(&json!({"matchExpressions": [{"key": "a", "operator": "Is"}]}));
    assert_eq!(error.unwrap_err().to_string(), "\"Is\" is not a valid label selector operator");
}

#[test]
fn invalid_selector_objects_name_the_field() {
    let mut errors = Errors::default();
    let selector = json!({"matchExpressions": [
        {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["x"]}, {"key": "a", "operator": "x"},
    ]});
    validate_label_selector(&selector, false, &Path::new("spec").child("selector"), &mut errors);
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "spec.selector.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            "spec.selector.matchExpressions[2].operator: Invalid value: \"x\": not a valid selector operator",
        ]
    );
}

#[test]
fn field_selectors_parse_escape_and_match() {
    let field = |name: &str| match name {
        "metadata.name" => Some("a,b=c"),
        "status.phase" => Some("Running"),
        _ => None,
    };
    for (text, want) in [
        ("", true),
        ("status.phase=Running", true),
        ("status.phase==Running,metadata.name!=x", true),
        ("status.phase!=Running", false),
        (r"metadata.name=a\,b\=c", true),
        ("spec.nodeName=", true),
        ("spec.nodeName!=", false),
    ] {
        let selector = FieldSelector::parse(text).unwrap();
        assert_eq!(selector.matches(field), want, "{text}");
        assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
    }
    for (text, message) in [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("metadata.name=a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"metadata.name=a\q", r"invalid field selector: invalid escape sequence: \q"),
        (r"metadata.name=a\", r"invalid field selector: invalid escape sequence: \"),
    ] {
        assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), message);
    }
}
