//! Who a request is from, and whether they may do what it asks.

pub mod attributes;
pub mod user;

pub use attributes::{Attributes, Authorized, Decision};
pub use user::User;
