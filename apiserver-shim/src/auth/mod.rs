//! Who a request is from, and whether they may do what it asks.

pub mod attributes;
pub mod authenticate;
pub mod authorize;
pub mod escalate;
pub mod identity;
pub mod impersonate;
pub(crate) mod objects;
mod oidc;
pub(crate) mod reviews;
pub mod token;
pub mod user;

pub use attributes::{Attributes, Authorized, Decision};
pub use authenticate::Authenticator;
pub use authorize::Authorizer;
pub use identity::server_parts;
pub use user::User;
