# syntax=docker/dockerfile:1.7
# Sentinel's service: docker build -t sentinel .
# Two stages: what builds is not in what runs. Nothing runs as root, and nothing is written but the data folder and /tmp.

FROM python:3.12.8-slim-bookworm AS build
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PROJECT_ENVIRONMENT=/opt/sentinel
RUN pip install --no-cache-dir --root-user-action=ignore "uv==0.13.9"
WORKDIR /src
# The versions and hashes of uv.lock and nothing else; first without our code, so that a change of it builds in seconds.
COPY pyproject.toml uv.lock README.md LICENSE NOTICE ./
ENV WANTED="--extra server --extra postgres --extra alerts --extra model --group weights"
RUN uv sync --frozen --no-dev --no-install-local ${WANTED}
COPY src ./src
COPY model ./model
RUN uv sync --frozen --no-dev --no-editable ${WANTED}

FROM python:3.12.8-slim-bookworm
RUN groupadd --system --gid 10001 sentinel \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin sentinel \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/sentinel
COPY --from=build /opt/sentinel /opt/sentinel
ENV PATH=/opt/sentinel/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    SENTINEL_DATA_DIR=/var/lib/sentinel \
    SENTINEL_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/sentinel
VOLUME /var/lib/sentinel
EXPOSE 8000
STOPSIGNAL SIGTERM
# It asks the service of its data folder for /readyz, over TLS and with a certificate where that is needed.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["sentinel", "doctor", "--ready"]
ENTRYPOINT ["sentinel"]
CMD ["serve"]
