//! TLS: a certificate authority per tenant, connections that find their tenant by SNI or by port.
