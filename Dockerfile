# The gateway in a container: pages on 8080/tcp, media on 4433/udp, certificates in the volume /certs.
#
#   docker build -t wtgateway .
#   docker run --rm -p 8080:8080 -p 4433:4433/udp -v wtgateway-certs:/certs wtgateway
#
# Arguments after the image's name replace the sources: `... wtgateway run rtsp://camera.lan/stream`.

FROM python:3.11-slim AS build
WORKDIR /src
# Exact versions with hashes (scripts/pins): nothing else is installed, whatever the package index says.
COPY pyproject.toml requirements.lock requirements-build.lock README.md CHANGELOG.md LICENSE ./
COPY wtgateway/ wtgateway/
COPY client/src/ client/src/
RUN pip install --no-cache-dir --require-hashes -r requirements-build.lock \
    && python -m build --no-isolation --wheel --outdir /wheels \
    && pip wheel --no-cache-dir --require-hashes --wheel-dir /wheels -r requirements.lock

# What stands for a camera in compose.yaml: an RTMP server with a test picture. No part of the gateway's image.
FROM debian:13-slim AS test-source
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg nginx-light libnginx-mod-rtmp \
    && rm -rf /var/lib/apt/lists/*
USER 10001:10001
EXPOSE 1935/tcp
ENTRYPOINT ["nginx", "-e", "stderr", "-c"]
CMD ["/etc/wtgateway/source.conf"]

FROM python:3.11-slim
# libX11 and friends capture a screen when it changes, libsrt reads srt:// sources.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libx11-6 libxext6 libxdamage1 libsrt1.5-gnutls \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 wtgateway \
    && useradd --system --uid 10001 --gid wtgateway --home-dir /certs --shell /usr/sbin/nologin wtgateway \
    && install -d -o wtgateway -g wtgateway -m 0700 /certs /cluster
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,from=build,source=/src/requirements.lock,target=/requirements.lock \
    pip install --no-cache-dir --no-index --find-links /wheels --require-hashes -r /requirements.lock \
    && pip install --no-cache-dir --no-index --no-deps /wheels/wtgateway-*.whl
USER wtgateway
# Inside a container "loopback" reaches nobody; what is published decides who gets in.
ENV WTG_BIND=[::]:4433 \
    WTG_WEB=0.0.0.0:8080 \
    WTG_CERTS_DIR=/certs \
    WTG_JSON_LOG=1 \
    PYTHONUNBUFFERED=1
VOLUME /certs
EXPOSE 8080/tcp 4433/udp
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["wtgateway"]
CMD ["run"]
