//! What `make up` left behind: the virtual cluster `demo` with its web app.

use e2e::{Cluster, Error};

#[test]
fn its_web_app_is_available() -> Result<(), Error> {
    let demo = Cluster::demo()?;
    demo.kubectl(&["wait", "--for=condition=Available", "--timeout=30s", "--namespace", "default", "deployment/web"])?;
    Ok(())
}

/// Left out on simulated nodes (`make test` says so).
mod real {
    use super::*;

    #[test]
    fn a_web_app_answers_by_the_name_of_its_service_with_exec_and_logs() -> Result<(), Error> {
        e2e::web::deploy_and_ask(&Cluster::demo()?)
    }
}
