# The program's image, for machines with Docker. (make up writes the same image without Docker.)
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p tenantry --bin tenantry && cp target/release/tenantry /tenantry

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /tenantry /usr/local/bin/tenantry
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/tenantry"]
