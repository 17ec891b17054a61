//! Answers from a tenant's Services and EndpointSlices.

use std::net::IpAddr;

use apimachinery::gvk::GroupResource;
use apimachinery::meta::{list_at, name, namespace, str_at};
use apimachinery::status::ApiError;
use apimachinery::tenant::TenantId;
use hickory_proto::ProtoError;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::Value;
use tenant_client::{Target, TenantClient};

use super::question::{self, Question};

/// Seconds that an answer may be kept.
const TTL: u32 = 5;
/// The version of the specification that names follow.
const SCHEMA: &str = "1.1.0";
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("cannot read the tenant's objects")]
    Read(#[from] ApiError),
    #[error("cannot write a name")]
    Name(#[from] ProtoError),
}

/// What a name has.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// Records; none means that the name is there, but has none of the type.
    Records(Vec<Record>),
    /// There is no such name.
    NoName,
    /// Ask somebody else.
    Outside,
}

/// Whose names are asked for.
pub(super) struct View<'a> {
    pub(super) client: &'a dyn TenantClient,
    pub(super) tenant: TenantId,
    pub(super) domain: &'a str,
}

/// One address behind a service.
struct Endpoint {
    address: IpAddr,
    host: String,
    ports: Vec<(String, String, u16)>,
}

impl View<'_> {
    /// Answers a question.
    ///
    /// # Errors
    /// When the tenant's objects cannot be read: the client is told to try again.
    pub(super) async fn answer(&self, asked: &Name, kind: RecordType) -> Result<Answer, AnswerError> {
        let text = asked.to_ascii().to_ascii_lowercase();
        let text = text.trim_end_matches('.');
        match question::parse(text, self.domain) {
            Question::Outside => Ok(Answer::Outside),
            Question::Nothing => Ok(Answer::NoName),
            Question::Inner => Ok(Answer::Records(Vec::new())),
            Question::Version => Ok(Answer::Records(if wants(kind, RecordType::TXT) {
                vec![record(asked, RData::TXT(TXT::new(vec![SCHEMA.to_owned()])))]
            } else {
                Vec::new()
            })),
            Question::Namespace { namespace } => {
                let resource = GroupResource::new("", "namespaces");
                Ok(if self.get(&resource, "", &namespace).await?.is_some() {
                    Answer::Records(Vec::new())
                } else {
                    Answer::NoName
                })
            }
            Question::Pod { address } => Ok(Answer::Records(addresses(asked, kind, [address]))),
            Question::Reverse { address } => self.reverse(asked, kind, address).await,
            Question::Service { namespace, service } => self.service(asked, kind, &namespace, &service).await,
            Question::Endpoint { namespace, service, endpoint } => {
                self.endpoint(asked, kind, &namespace, &service, &endpoint).await
            }
            Question::Port { namespace, service, port, protocol } => {
                self.port(asked, kind, &namespace, &service, (&port, &protocol)).await
            }
        }
    }

    /// The record that says who answers for the domain; goes with negative answers.
    pub(super) fn authority(&self) -> Result<Record, ProtoError> {
        let domain = Name::from_ascii(format!("{}.", self.domain))?;
        let soa = SOA::new(
            Name::from_ascii(format!("ns.dns.{}.", self.domain))?,
            Name::from_ascii(format!("hostmaster.{}.", self.domain))?,
            1,
            7200,
            1800,
            86_400,
            TTL,
        );
        Ok(Record::from_rdata(domain, TTL, RData::SOA(soa)))
    }

    async fn service(
        &self,
        asked: &Name,
        kind: RecordType,
        namespace: &str,
        service: &str,
    ) -> Result<Answer, AnswerError> {
        let Some(object) = self.service_object(namespace, service).await? else { return Ok(Answer::NoName) };
        if str_at(&object, &["spec", "type"]) == "ExternalName" {
            let target = str_at(&object, &["spec", "externalName"]).trim_end_matches('.');
            return Ok(Answer::Records(vec![record(
                asked,
                RData::CNAME(CNAME(Name::from_ascii(format!("{target}."))?)),
            )]));
        }
        let ips = cluster_ips(&object);
        if !ips.is_empty() {
            if wants(kind, RecordType::SRV) {
                let ports: Vec<u16> = service_ports(&object).into_iter().map(|(_, _, port)| port).collect();
                return Ok(Answer::Records(
                    ports.into_iter().map(|p| record(asked, RData::SRV(SRV::new(0, 100, p, asked.clone())))).collect(),
                ));
            }
            return Ok(Answer::Records(addresses(asked, kind, ips)));
        }
        let endpoints = self.endpoints(namespace, service, publishes_not_ready(&object)).await?;
        if endpoints.is_empty() {
            return Ok(Answer::NoName);
        }
        Ok(Answer::Records(addresses(asked, kind, endpoints.iter().map(|e| e.address))))
    }

    async fn endpoint(
        &self,
        asked: &Name,
        kind: RecordType,
        namespace: &str,
        service: &str,
        wanted: &str,
    ) -> Result<Answer, AnswerError> {
        let Some(object) = self.service_object(namespace, service).await? else { return Ok(Answer::NoName) };
        let dashed = question::dashed_address(wanted);
        let mut found = self.endpoints(namespace, service, publishes_not_ready(&object)).await?;
        found.retain(|e| e.host == wanted || (e.host.is_empty() && Some(e.address) == dashed));
        if found.is_empty() {
            return Ok(Answer::NoName);
        }
        Ok(Answer::Records(addresses(asked, kind, found.iter().map(|e| e.address))))
    }

    async fn port(
        &self,
        asked: &Name,
        kind: RecordType,
        namespace: &str,
        service: &str,
        wanted: (&str, &str),
    ) -> Result<Answer, AnswerError> {
        let Some(object) = self.service_object(namespace, service).await? else { return Ok(Answer::NoName) };
        let matches =
            |(name, protocol, _): &&(String, String, u16)| name == wanted.0 && protocol.eq_ignore_ascii_case(wanted.1);
        let full = Name::from_ascii(format!("{service}.{namespace}.svc.{}.", self.domain))?;
        let mut records = Vec::new();
        if cluster_ips(&object).is_empty() {
            for endpoint in self.endpoints(namespace, service, publishes_not_ready(&object)).await? {
                let host = if endpoint.host.is_empty() {
                    endpoint.address.to_string().replace(['.', ':'], "-")
                } else {
                    endpoint.host.clone()
                };
                let target = Name::from_ascii(format!("{host}.{full}"))?;
                let ports = endpoint.ports.iter().filter(matches);
                records.extend(
                    ports.map(|(_, _, port)| record(asked, RData::SRV(SRV::new(0, 100, *port, target.clone())))),
                );
            }
        } else {
            let ports = service_ports(&object);
            records.extend(
                ports
                    .iter()
                    .filter(matches)
                    .map(|(_, _, port)| record(asked, RData::SRV(SRV::new(0, 100, *port, full.clone())))),
            );
        }
        if records.is_empty() {
            return Ok(Answer::NoName);
        }
        Ok(Answer::Records(if wants(kind, RecordType::SRV) { records } else { Vec::new() }))
    }

    async fn reverse(&self, asked: &Name, kind: RecordType, address: IpAddr) -> Result<Answer, AnswerError> {
        let services = self.client.list(self.tenant, &GroupResource::new("", "services"), None).await?;
        for item in services.items {
            let object = item.to_value()?;
            if cluster_ips(&object).contains(&address) {
                let target =
                    Name::from_ascii(format!("{}.{}.svc.{}.", name(&object), namespace(&object), self.domain))?;
                return Ok(Answer::Records(if wants(kind, RecordType::PTR) {
                    vec![record(asked, RData::PTR(PTR(target)))]
                } else {
                    Vec::new()
                }));
            }
        }
        // Addresses that are no service's: pods' and the world's. Somebody upstream may know.
        Ok(Answer::Outside)
    }

    async fn service_object(&self, namespace: &str, service: &str) -> Result<Option<Value>, ApiError> {
        self.get(&GroupResource::new("", "services"), namespace, service).await
    }

    async fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
        let target = Target { tenant: self.tenant, resource, namespace, name, subresource: "" };
        match self.client.get(target).await {
            Ok(object) => object.to_value().map(Some),
            Err(error) if error.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn endpoints(&self, namespace: &str, service: &str, not_ready: bool) -> Result<Vec<Endpoint>, ApiError> {
        let slices = self
            .client
            .list(self.tenant, &GroupResource::new("discovery.k8s.io", "endpointslices"), Some(namespace))
            .await?;
        let mut found = Vec::new();
        for slice in slices.items.iter().filter(|s| s.stored.label(SERVICE_NAME_LABEL) == Some(service)) {
            let slice = slice.to_value()?;
            let ports: Vec<_> = list_at(&slice, &["ports"]).iter().filter_map(port_of).collect();
            for endpoint in list_at(&slice, &["endpoints"]) {
                let ready = endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false);
                if !ready && !not_ready {
                    continue;
                }
                let host = str_at(endpoint, &["hostname"]);
                let addresses = list_at(endpoint, &["addresses"]).iter().filter_map(|a| a.as_str()?.parse().ok());
                found.extend(addresses.map(|address| Endpoint {
                    address,
                    host: host.to_owned(),
                    ports: ports.clone(),
                }));
            }
        }
        Ok(found)
    }
}

fn publishes_not_ready(service: &Value) -> bool {
    service.pointer("/spec/publishNotReadyAddresses").and_then(Value::as_bool).unwrap_or(false)
}

fn cluster_ips(service: &Value) -> Vec<IpAddr> {
    list_at(service, &["spec", "clusterIPs"]).iter().filter_map(|ip| ip.as_str()?.parse().ok()).collect()
}

fn service_ports(service: &Value) -> Vec<(String, String, u16)> {
    list_at(service, &["spec", "ports"]).iter().filter_map(port_of).collect()
}

fn port_of(port: &Value) -> Option<(String, String, u16)> {
    let number = port.get("port")?.as_u64().and_then(|p| u16::try_from(p).ok())?;
    Some((str_at(port, &["name"]).to_owned(), str_at(port, &["protocol"]).to_owned(), number))
}

fn wants(asked: RecordType, kind: RecordType) -> bool {
    asked == kind || asked == RecordType::ANY
}

fn addresses(name: &Name, kind: RecordType, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<Record> {
    let data = addresses.into_iter().filter_map(|address| match address {
        IpAddr::V4(ip) if wants(kind, RecordType::A) => Some(RData::A(A(ip))),
        IpAddr::V6(ip) if wants(kind, RecordType::AAAA) => Some(RData::AAAA(AAAA(ip))),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    data.map(|data| record(name, data)).collect()
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}
