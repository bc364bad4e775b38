# The operator's image. It holds one program, built outside:
#   program=$(scripts/release/build.sh peon-operator)
#   docker build --tag peon-operator --file Dockerfile "$(dirname "$program")"
# `e2e images` builds it on a local base image, given as BASE.
ARG BASE=gcr.io/distroless/cc-debian12:nonroot
FROM ${BASE}
COPY peon-operator /usr/local/bin/peon-operator
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/peon-operator"]
