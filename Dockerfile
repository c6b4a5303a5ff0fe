# The two images can be others: GO_IMAGE needs Go, a shell and a CA bundle; BASE_IMAGE a shell with sleep, mv and kill.
ARG GO_IMAGE=golang:1.26-alpine
ARG BASE_IMAGE=alpine:3.22

FROM ${BASE_IMAGE} AS base

# Whatever the image is for, this stage runs as this machine does, and nothing runs in the others: no machine is emulated.
# Docker without BuildKit does not know the platform of the build, and takes its own.
FROM --platform=${BUILDPLATFORM:-linux} ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY main.go memory.go spec.json ./
COPY protocol protocol
COPY source source
# A test keeps it equal to dockerImageTag in metadata.yaml.
ARG VERSION=0.1.0
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X source-postgres/protocol.Version=${VERSION}" -o /airbyte/source-postgres .
# The platform runs the image as 1000:1000. Written without adduser, which not every base has.
COPY --from=base /etc/passwd /etc/group /accounts/
RUN echo 'airbyte:x:1000:1000:airbyte:/airbyte:/bin/sh' >> /accounts/passwd \
    && echo 'airbyte:x:1000:' >> /accounts/group

FROM base
COPY --from=build /accounts/ /etc/
# For ssl_mode verify-ca and verify-full without a certificate of the user's own.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=1000:1000 /airbyte/ /airbyte/
WORKDIR /airbyte
USER airbyte
# The platform replaces the entrypoint by sh -c 'eval "$AIRBYTE_ENTRYPOINT ..."': hence the shell, and the absolute path
# in both.
ENV AIRBYTE_ENTRYPOINT="/airbyte/source-postgres"
ENTRYPOINT ["/airbyte/source-postgres"]
ARG VERSION=0.1.0
LABEL io.airbyte.name="source-postgres" io.airbyte.version="${VERSION}"
