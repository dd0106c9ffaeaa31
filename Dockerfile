# syntax=docker/dockerfile:1
# One image for every role: `signalstack api`, `worker`, `migrate up`. Runs as a number, on a root
# that is read-only, and writes nothing. docs/deploy.md says how it was checked.

FROM python:3.13.14-slim-trixie AS build
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/signalstack
# The version that the Makefile has.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --root-user-action=ignore uv==0.13.9
WORKDIR /src
# Dependencies alone first: this layer stays until the lock changes.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-dev --extra redis --extra phonenumbers --no-install-project
COPY README.md LICENSE ./
COPY service service
COPY sql sql
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --locked --no-dev --extra redis --extra phonenumbers --no-editable

FROM python:3.13.14-slim-trixie
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="SignalStack" \
      org.opencontainers.image.description="Event-driven jobs on PostgreSQL" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Owned by root: what runs cannot change itself.
COPY --from=build /opt/signalstack /opt/signalstack
COPY --chmod=0555 deploy/image/healthcheck.py /usr/local/bin/healthcheck
ENV PATH=/opt/signalstack/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    METRICS_HOST=0.0.0.0
USER 65532:65532
WORKDIR /
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/local/bin/healthcheck"]
ENTRYPOINT ["signalstack"]
CMD ["api"]
