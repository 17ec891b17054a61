//! `/livez`, `/readyz`, `/healthz`.

use axum::body::Body;
use http::Response;

use crate::http::{Exchange, respond};

/// What is checked, by the names of a stock server. One that answers at all has passed all of them but the store's.
const CHECKS: [&str; 4] = ["ping", "log", "etcd", "poststarthook/generic-apiserver-start-informers"];

/// The check of the store: whatever stores it, clients know it by this name.
const STORE: &str = "etcd";

/// Answers for the whole (`/livez`) or one check (`/livez/ping`).
pub(super) fn serve(exchange: &Exchange, name: &str, checks: &[&str]) -> Response<Body> {
    let stopping = exchange.shared.stop.is_cancelled() && name == "readyz";
    let store = exchange.registry().store().health();
    let fails = |check: &str| check == STORE && store.is_err();
    let one = checks.join("/");
    if !one.is_empty() {
        return match CHECKS.contains(&one.as_str()) {
            true if fails(&one) => respond::text(500, "internal server error: the store takes no writes\n"),
            true => respond::text(200, "ok"),
            false => respond::no_such_path(),
        };
    }
    let excluded: Vec<&str> = exchange.query.all("exclude").collect();
    let mut lines = String::new();
    let mut failed = false;
    for check in CHECKS {
        if excluded.contains(&check) {
            lines.push_str(&format!("[+]{check} excluded: ok\n"));
        } else if fails(check) {
            failed = true;
            lines.push_str(&format!("[-]{check} failed: reason withheld\n"));
        } else {
            lines.push_str(&format!("[+]{check} ok\n"));
        }
    }
    if stopping {
        lines.push_str("[-]shutdown failed: reason withheld\n");
    }
    if stopping || failed {
        return respond::text(500, format!("{lines}{name} check failed\n"));
    }
    if exchange.query.get("verbose").is_some() {
        respond::text(200, format!("{lines}{name} check passed\n"))
    } else {
        respond::text(200, "ok")
    }
}
