# The broker alone: a static binary in an empty image. `docker build -t claudemesh-broker .`
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev make gcc
WORKDIR /src
COPY . .
ARG GIT_SHA=unknown
ENV CLAUDEMESH_GIT_SHA=$GIT_SHA
RUN cargo build --profile server --locked -p broker-min \
    && mkdir -p /out/data \
    && cp target/server/broker-min /out/broker-min

FROM scratch
COPY --from=build /out/broker-min /broker-min
# A volume that is made from this folder belongs to the user below.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
VOLUME /data
# `gc` needs room for a copy of the store, which the empty image has only here.
ENV CLAUDEMESH_BROKER_DATA=/data \
    SQLITE_TMPDIR=/data \
    CLAUDEMESH_BROKER_LISTEN=0.0.0.0:7900
EXPOSE 7900
STOPSIGNAL SIGTERM
ENTRYPOINT ["/broker-min"]
