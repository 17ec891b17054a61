//! `list` and `get`.

use std::process::ExitCode;

use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use virtualcluster::VirtualCluster;

use crate::cli::{Format, GetArgs, Global, ListArgs};
use crate::error::Error;
use crate::kubeconfig::{Host, api_error};
use crate::output;

pub(crate) async fn list(global: &Global, args: &ListArgs) -> Result<ExitCode, Error> {
    let host = Host::connect(global).await?;
    let api: Api<VirtualCluster> = if args.all_namespaces {
        Api::all(host.client.clone())
    } else {
        Api::namespaced(host.client.clone(), &host.namespace)
    };
    let list = api.list(&ListParams::default()).await.map_err(|e| api_error("list virtual clusters", e))?;
    match args.output {
        Some(format @ (Format::Json | Format::Yaml)) => output::print_object(format, &list)?,
        _ if list.items.is_empty() && args.all_namespaces => output::say("No virtual clusters found"),
        _ if list.items.is_empty() => {
            output::say(&format!("No virtual clusters found in namespace \"{}\"", host.namespace));
        }
        _ => table(&list.items, args.all_namespaces, args.output == Some(Format::Wide))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn get(global: &Global, args: &GetArgs) -> Result<ExitCode, Error> {
    let host = Host::connect(global).await?;
    let found = host.virtual_cluster(&args.name).await?;
    match args.output {
        Some(format @ (Format::Json | Format::Yaml)) => output::print_object(format, &found)?,
        _ => table(&[found], false, args.output == Some(Format::Wide))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn table(items: &[VirtualCluster], namespaces: bool, wide: bool) -> Result<(), Error> {
    let mut header = vec!["NAME", "PHASE", "VERSION", "ENDPOINT", "AGE"];
    if namespaces {
        header.insert(0, "NAMESPACE");
    }
    if wide {
        header.extend(["KUBECONFIG", "SERVER-NAME", "REASON"]);
    }
    let rows: Vec<Vec<String>> = items.iter().map(|vc| row(vc, namespaces, wide)).collect();
    output::print_table(&header, &rows)
}

fn row(vc: &VirtualCluster, namespaces: bool, wide: bool) -> Vec<String> {
    let status = vc.status.clone().unwrap_or_default();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "<none>".to_owned());
    let phase = match (&vc.metadata.deletion_timestamp, status.phase) {
        (Some(_), _) => "Terminating".to_owned(),
        (None, Some(phase)) => format!("{phase:?}"),
        (None, None) => "Pending".to_owned(),
    };
    let age =
        vc.metadata.creation_timestamp.as_ref().map(|t| output::age(Timestamp::now().duration_since(t.0).as_secs()));
    let mut cells = vec![
        or_none(vc.metadata.name.clone()),
        phase,
        or_none(status.kubernetes_version),
        or_none(status.endpoint),
        or_none(age),
    ];
    if namespaces {
        cells.insert(0, or_none(vc.metadata.namespace.clone()));
    }
    if wide {
        let reason = vc.ready_condition().map(|c| c.reason.clone());
        cells.extend([or_none(status.kubeconfig_secret_name), or_none(status.server_name), or_none(reason)]);
    }
    cells
}
