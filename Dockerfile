# UNTESTED: no Docker engine has built this file yet.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# What the C libraries need beside the compiler and make, which the image has.
RUN apt-get update && apt-get install --yes --no-install-recommends perl && rm -rf /var/lib/apt/lists/*
COPY . .
# The bench profile is the release profile with this crate at level 3: what ships is what is measured.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile bench --locked --bin consign && cp target/release/consign /consign

FROM debian:bookworm-slim
# The roots of trust for targets that are reached over TLS.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /consign /usr/local/bin/consign
# Local state: a container without a volume there reads it from the topics at each start.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/consign
WORKDIR /var/lib/consign
VOLUME /var/lib/consign
USER 10001:10001
ENTRYPOINT ["/usr/local/bin/consign"]
CMD ["run"]
