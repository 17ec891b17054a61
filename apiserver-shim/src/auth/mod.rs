//! Who a request is from, and whether they may do what it asks.

pub mod attributes;
pub mod authenticate;
pub mod authorize;
pub(crate) mod objects;
pub mod token;
pub mod user;

pub use attributes::{Attributes, Authorized, Decision};
pub use authenticate::Authenticator;
pub use authorize::Authorizer;
pub use user::User;
