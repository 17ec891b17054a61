module tenantry.io/e2e/host/tools

go 1.24
