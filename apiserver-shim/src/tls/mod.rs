//! TLS: a certificate authority per tenant, connections that find their tenant by SNI or by port.

pub mod acceptor;
pub mod authority;
mod kubeconfig;
mod legacy_hello;
pub mod listen;
pub mod peer;

pub use acceptor::{Acceptor, Connection, Refused, Route};
pub use authority::{Authority, CertificateError};
pub use kubeconfig::kubeconfig;
pub use listen::{Handler, Listeners};
pub use peer::Peer;
