# The two images can be others: GO_IMAGE needs Go, a shell and a CA bundle; BASE_IMAGE a shell with sleep, mv and kill.
ARG GO_IMAGE=golang:1.26-alpine
ARG BASE_IMAGE=alpine:3.22

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY main.go memory.go spec.json ./
COPY protocol protocol
COPY source source
# A test keeps it equal to dockerImageTag in metadata.yaml.
ARG VERSION=0.1.0
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X source-postgres/protocol.Version=${VERSION}" -o /out/source-postgres .

FROM ${BASE_IMAGE}
# The platform runs the image as 1000:1000, and replaces the entrypoint by sh -c 'eval "$AIRBYTE_ENTRYPOINT ..."': hence
# the shell, and the absolute path in both. Written without adduser, which not every base has.
RUN echo 'airbyte:x:1000:1000:airbyte:/airbyte:/bin/sh' >> /etc/passwd \
    && echo 'airbyte:x:1000:' >> /etc/group \
    && mkdir -p /airbyte && chown 1000:1000 /airbyte
# For ssl_mode verify-ca and verify-full without a certificate of the user's own.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/source-postgres /airbyte/source-postgres
WORKDIR /airbyte
USER airbyte
ENV AIRBYTE_ENTRYPOINT="/airbyte/source-postgres"
ENTRYPOINT ["/airbyte/source-postgres"]
ARG VERSION=0.1.0
LABEL io.airbyte.name="source-postgres" io.airbyte.version="${VERSION}"
