//! Service-account tokens: signed claims, issued and checked per tenant.

pub mod claims;
pub mod jwt;

pub use jwt::TokenKey;
