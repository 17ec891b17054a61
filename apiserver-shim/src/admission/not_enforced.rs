//! Objects that would change what other requests do, and that nothing here acts on yet: they are refused, so that
//! nobody relies on a rule that does not hold. A row goes when what it names is there.

use apimachinery::status::ApiError;
use async_trait::async_trait;
use serde_json::Value;

use super::{Admission, Operation, Request};

pub(super) struct NotEnforced;

/// What is refused (group, resource) and what to do instead.
const REFUSED: [(&str, &str, &str); 4] = [
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "admission webhooks are not called yet"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "admission webhooks are not called yet"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", "admission policies are not evaluated yet"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", "admission policies are not evaluated yet"),
];

#[async_trait]
impl Admission for NotEnforced {
    fn name(&self) -> &'static str {
        "NotEnforced"
    }

    async fn validate(&self, request: &Request<'_>) -> Result<(), ApiError> {
        if request.operation != Operation::Create || !request.call.subresource.is_empty() {
            return Ok(());
        }
        let gvr = &request.call.resource.gvr;
        match refusal(&gvr.group, &gvr.resource, request.object.as_ref()) {
            Some(why) => Err(ApiError::not_implemented(format!(
                "{} cannot be created: {why}",
                request.call.resource.group_resource()
            ))),
            None => Ok(()),
        }
    }
}

fn refusal(group: &str, resource: &str, object: Option<&Value>) -> Option<&'static str> {
    let service = || object.and_then(|o| o.pointer("/spec/service")).is_some_and(|s| !s.is_null());
    if group == "apiregistration.k8s.io" && resource == "apiservices" && service() {
        return Some("requests are not passed on to other API servers yet");
    }
    REFUSED.iter().find(|(g, r, _)| *g == group && *r == resource).map(|(_, _, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nothing_acts_on_is_refused_and_the_rest_is_not() {
        assert!(refusal("admissionregistration.k8s.io", "mutatingwebhookconfigurations", None).is_some());
        assert!(
            refusal("admissionregistration.k8s.io", "validatingadmissionpolicies", None).is_none(),
            "inert without a binding"
        );
        assert!(refusal("", "pods", None).is_none());
        let aggregated = json!({"spec": {"service": {"name": "x"}}});
        assert!(refusal("apiregistration.k8s.io", "apiservices", Some(&aggregated)).is_some());
        assert!(refusal("apiregistration.k8s.io", "apiservices", Some(&json!({"spec": {}}))).is_none());
    }
}
