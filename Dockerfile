# wtgateway in a container: a wheel is built in one stage and installed in the other, which has no build tools.
#   docker build -t wtgateway . && docker run --rm -p 8443:8443 -p 4433:4433/udp wtgateway
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/wtgateway
COPY pyproject.toml README.md LICENSE ./
COPY client/src client/src
COPY wtgateway wtgateway
# --no-compile: byte code belongs to the stage that runs it
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && /opt/wtgateway/bin/pip install --no-cache-dir /wheels/*.whl

FROM python:3.11-slim
LABEL org.opencontainers.image.title="wtgateway" \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.description="Low-latency media gateway: any source to a browser tab"
# What screen capture on damage needs; the media libraries are in PyAV's wheel.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libx11-6 libxext6 libxdamage1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --no-create-home --home-dir /data wtgateway \
 && install -d -o wtgateway -g wtgateway -m 0700 /data /data/certs
COPY --from=build /opt/wtgateway /opt/wtgateway
ENV PATH=/opt/wtgateway/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WTG_CERTS_DIR=/data/certs
USER wtgateway
WORKDIR /data
VOLUME /data/certs
EXPOSE 4433/udp 8080/tcp 8443/tcp
STOPSIGNAL SIGTERM
# The page's port depends on how it is started; the first that answers healthy counts.
HEALTHCHECK --interval=15s --timeout=5s --start-period=5s --retries=3 \
  CMD ["python", "-c", "import ssl,sys,urllib.request as u\nc=ssl._create_unverified_context()\nfor b in('http://127.0.0.1:8080','https://127.0.0.1:8443'):\n  try: sys.exit(u.urlopen(b+'/healthz',timeout=2,context=c if b[4]=='s' else None).status!=200)\n  except OSError: pass\nsys.exit(1)"]
ENTRYPOINT ["wtgateway"]
CMD ["run", "--public"]
