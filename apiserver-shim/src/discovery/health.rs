//! `/livez`, `/readyz`, `/healthz`.

use axum::body::Body;
use http::Response;

use crate::http::{Exchange, respond};

/// What is checked. A server that answers at all has passed all of them; the store says by 503 when it is away.
const CHECKS: [&str; 4] = ["ping", "log", "etcd", "poststarthook/generic-apiserver-start-informers"];

/// Answers for the whole (`/livez`) or one check (`/livez/ping`).
pub(super) fn serve(exchange: &Exchange, name: &str, checks: &[&str]) -> Response<Body> {
    let stopping = exchange.shared.stop.is_cancelled() && name == "readyz";
    let one = checks.join("/");
    if !one.is_empty() {
        return if CHECKS.contains(&one.as_str()) { respond::text(200, "ok") } else { respond::no_such_path() };
    }
    let excluded: Vec<&str> = exchange.query.all("exclude").collect();
    let mut lines = String::new();
    for check in CHECKS {
        lines.push_str(&if excluded.contains(&check) {
            format!("[+]{check} excluded: ok\n")
        } else {
            format!("[+]{check} ok\n")
        });
    }
    if stopping {
        return respond::text(500, format!("{lines}[-]shutdown failed: reason withheld\n{name} check failed\n"));
    }
    if exchange.query.get("verbose").is_some() {
        respond::text(200, format!("{lines}{name} check passed\n"))
    } else {
        respond::text(200, "ok")
    }
}
