# Two images: `--target gateway` (the last stage: serve, without torch) and `--target align` (training).
# Needs BuildKit, which Docker has used by default since version 23. Dependencies come before sources, so
# that an edit of the code reuses their layers.

# What installs the others' dependencies, and stays out of both images.
FROM python:3.11.14-slim-bookworm AS build
COPY requirements/uv.txt /tmp/uv.txt
RUN python -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --require-hashes -r /tmp/uv.txt

FROM python:3.11.14-slim-bookworm AS align
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
RUN --mount=type=bind,from=build,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,source=requirements/align.txt,target=/tmp/align.txt \
    python -m venv --without-pip /opt/groundrule \
    && /opt/uv/bin/uv pip install --python /opt/groundrule/bin/python \
        --no-deps --require-hashes -r /tmp/align.txt
WORKDIR /app
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin groundrule \
    && install -d -o groundrule /app/runs /app/.cache
ENV PATH=/opt/groundrule/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY LICENSE NOTICE README.md pyproject.toml ./
COPY policies policies
COPY align align
# Trainings on several GPUs are started through it, so that they end with their run. No more of the gateway is in
# this image: `run --to bundle`, or measure one that runs elsewhere, which `evaluate.base_url` names.
COPY serve/__init__.py serve/
COPY serve/engine/__init__.py serve/engine/leash.py serve/engine/
# In place, and for the version's sake alone: a run's manifests name it.
RUN --mount=type=bind,from=build,source=/opt/uv,target=/opt/uv \
    /opt/uv/bin/uv pip install --python /opt/groundrule/bin/python --no-deps --editable .
USER 10001
# A named volume belongs to uid 10001 from the start; a directory of the host's must be writable for it.
# `mini train` and `mini keep` write into align/mini/weights, which is read-only here: they need a checkout.
VOLUME ["/app/runs"]
# A run ends by itself; there is no service whose health could be asked.
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "align"]

FROM python:3.11.14-slim-bookworm AS gateway
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
RUN --mount=type=bind,from=build,source=/opt/uv,target=/opt/uv \
    --mount=type=bind,source=requirements/gateway.txt,target=/tmp/gateway.txt \
    python -m venv --without-pip /opt/groundrule \
    && /opt/uv/bin/uv pip install --python /opt/groundrule/bin/python \
        --no-deps --require-hashes -r /tmp/gateway.txt
WORKDIR /app
# The audit and the keys; also where everything else is read-only, it must be writable for uid 10001.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin groundrule \
    && install -d -o groundrule -m 700 /var/lib/groundrule
# Open to the container's network: the gateway refuses to start without a key, in GROUNDRULE_API_KEYS or in its table.
ENV PATH=/opt/groundrule/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    GROUNDRULE_HOST=0.0.0.0 GROUNDRULE_PORT=8000 GROUNDRULE_STATE_DIR=/var/lib/groundrule
COPY LICENSE NOTICE ./
COPY policies policies
COPY serve serve
USER 10001
# Name it, and it outlives the container: rows that no database has yet, and the database where none is named.
VOLUME ["/var/lib/groundrule"]
EXPOSE 8000
# SIGTERM drains; give the container longer than drain_grace_s + drain_timeout_s + 7 s (Docker gives it 10 s).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["python", "-c", \
    "import os, ssl, urllib.request as r; e = os.environ; s = 's' * bool(e.get('GROUNDRULE_TLS__CERTIFICATE')); \
    r.urlopen(f\"http{s}://127.0.0.1:{e['GROUNDRULE_PORT']}/healthz\", timeout=2, context=ssl._create_unverified_context())"]
ENTRYPOINT ["python", "-m", "serve"]
