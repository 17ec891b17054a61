//! The host's API is away: tenants are served all the same, what needs the host says so, and nothing is lost.
//!
//! One test: it takes the host from all others, so it is alone in its program.

use e2e::fault::{FrozenApi, server_kill};
use e2e::marks::{host_namespace, uid};
use e2e::{Cluster, Error, LIMIT, Tenant, must, sleepers};

/// Left out on simulated nodes (`make test` says so).
mod real {
    use super::*;

    #[test]
    fn a_host_api_that_hangs_loses_nothing_and_the_tenants_api_answers() -> Result<(), Error> {
        let (tenant, host) = (Tenant::create("e2e-away")?, Cluster::host()?);
        let cluster = tenant.cluster();
        cluster.apply("default", &sleepers("before", 1))?;
        cluster.kubectl(&["rollout", "status", "deployment/before", "--timeout=90s"])?;
        cluster.kubectl(&["create", "service", "clusterip", "before", "--tcp=80"])?;
        let pod = cluster.kubectl(&["get", "pods", "--output", "jsonpath={.items[0].metadata.name}"])?;
        let namespace = host_namespace(&host, &uid(&host, tenant.name())?, "default")?.unwrap_or_default();

        let server = |host: &Cluster| {
            let status = "{range .items[0].status.containerStatuses[0]}{.restartCount} {.ready}{end}";
            let labels = "--selector=app.kubernetes.io/name=tenantry";
            host.kubectl(&[
                "get",
                "pods",
                "--namespace=tenantry-system",
                labels,
                &format!("--output=jsonpath={status}"),
            ])
        };
        let before = server(&host)?;

        let frozen = FrozenApi::new()?;
        cluster.kubectl(&["get", "pods,services,nodes", "--request-timeout=5s"])?;
        cluster.kubectl(&["create", "namespace", "meanwhile", "--request-timeout=5s"])?;
        cluster.apply("default", &sleepers("meanwhile", 1))?;
        cluster.kubectl(&["scale", "deployment/before", "--replicas=2", "--request-timeout=5s"])?;
        cluster.eventually("the tenant's own controllers go on", LIMIT, |cluster| {
            let pods = cluster.kubectl(&["get", "pods", "--output=name"])?;
            must("three pods", pods.lines().count() == 3, &pods)
        })?;
        cluster.kubectl(&["label", "pod", &pod, "written=meanwhile", "--request-timeout=5s"])?;
        for needs_host in [
            &["logs", pod.as_str()][..],
            &["exec", &pod, "--", "true"],
            &["create", "service", "clusterip", "meanwhile", "--tcp=80"],
            &["patch", "service", "before", "--patch", r#"{"spec":{"ports":[{"port":80,"targetPort":81}]}}"#],
        ] {
            // The client's own limit is the test's: what says 503 says so before it.
            let answer = cluster.kubectl(&[&["--request-timeout=20s"], needs_host].concat());
            let said = answer.err().map(|e| e.to_string()).unwrap_or_default();
            must(&format!("{needs_host:?}"), said.contains("the host cluster is away"), &said)?;
        }
        cluster.kubectl(&["delete", "deployment", "before", "--request-timeout=5s"])?;
        server_kill()?;
        cluster.eventually("a server that starts while the host is away serves its tenants", LIMIT, |cluster| {
            cluster.kubectl(&[
                "create",
                "configmap",
                "written",
                "--from-literal=when=meanwhile",
                "--request-timeout=5s",
            ])
        })?;
        drop(frozen);

        // The kubelet tells of the restart only now, and for that moment the host takes the server out of its Service.
        host.eventually("the host has seen the server's restart", LIMIT, |host| {
            let now = server(host)?;
            must("restarts, ready", now != before && now.ends_with(" true"), &now)
        })?;
        cluster.eventually("the server is back in its Service", LIMIT, |cluster| {
            cluster.kubectl(&["get", "namespaces"])
        })?;
        cluster.kubectl(&["rollout", "status", "deployment/meanwhile", "--timeout=90s"])?;
        cluster.eventually("what was deleted meanwhile is gone on both sides", LIMIT, |cluster| {
            let pods = cluster.kubectl(&["get", "pods", "--output=name"])?;
            must("one pod in the tenant", pods.lines().count() == 1, &pods)?;
            let pods = host.kubectl(&["get", "pods", "--output=name", "--namespace", &namespace])?;
            must("one pod on the host", pods.lines().count() == 1, &pods)
        })?;
        cluster.kubectl(&["create", "service", "clusterip", "meanwhile", "--tcp=80"])?;
        cluster.eventually("logs answer again", LIMIT, |cluster| {
            let log = cluster.kubectl(&["logs", "deployment/meanwhile"])?;
            must("the log", log == "started\n", &log)
        })?;
        let services =
            |cluster: &Cluster, at: &[&str]| cluster.kubectl(&[&["get", "services", "--output=name"], at].concat());
        host.eventually("the services of both sides agree", LIMIT, |host| {
            let (below, above) = (services(host, &["--namespace", &namespace])?, services(cluster, &[])?);
            must("on the host", below == above, format!("host:\n{below}tenant:\n{above}"))
        })
    }
}
