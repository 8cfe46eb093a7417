# The service as a container: only what serving needs, run as an unprivileged numeric user.
#
#   docker build -t digitserve .                              CPU, ONNX Runtime
#   docker build -t digitserve:cuda --build-arg EXTRA=torch . CUDA, torch (about 6 GB; run with --gpus all)
#   docker build -t digitserve:client --build-arg EXTRA=client . CPU, for digitserve predict --url
#   docker build -t digitserve:ray --build-arg EXTRA=ray .    CPU, for the machines of a Ray cluster
#   docker build -t digitserve:otel --build-arg EXTRA=otel .  CPU, with OpenTelemetry traces
#   docker build -t digitserve:heic --build-arg EXTRA=heic .  CPU, reads HEIC and TIFF too (contains x265, under GPL 2)
#
# The tag below moves with each release of the base image. For reproducible builds, pass the digest that
# `docker buildx imagetools inspect python:3.13-slim-trixie` shows, and renew it when you renew the locks:
#
#   docker build -t digitserve --build-arg BASE=docker.io/library/python@sha256:... .

ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS build
ARG EXTRA=""
ENV PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all:
WORKDIR /src
# Only locked releases are downloaded, checked by hash, and only as wheels, so that no package runs code during the
# build. This comes before our code, which changes more often, so that these layers stay cached.
COPY supply/requirements*.txt ./supply/
RUN python -m venv --without-pip /opt/build \
 && pip --python /opt/build/bin/python install --require-hashes -r supply/requirements-build.txt
RUN python -m venv --without-pip /opt/venv \
 && pip --python /opt/venv/bin/python install --no-compile --require-hashes -r "supply/requirements${EXTRA:+-${EXTRA}}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY training ./training
COPY models ./models
COPY supply ./supply
# From here on nothing is downloaded. The SBOM lists what is installed, and the model's files with their hashes. Removed is
# what the service does not import: tests of packages, ONNX Runtime's tools for creating graphs, and its library for
# programs in C (35 MB), which its Python module does not use.
RUN /opt/build/bin/hatchling build -t wheel -d /tmp/wheel \
 && pip --python /opt/venv/bin/python install --no-compile --no-index --no-deps /tmp/wheel/*.whl \
 && pip --python /opt/venv/bin/python check \
 && /opt/build/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o packages.json /opt/venv/bin/python \
 && /opt/venv/bin/python supply/sbom.py < packages.json > /opt/venv/sbom.cdx.json \
 && find /opt/venv -name tests -type d -prune -exec rm -rf {} + \
 && find /opt/venv -regex '.*/onnxruntime/\(quantization\|tools\|transformers\)' -prune -exec rm -rf {} + \
 && find /opt/venv -path '*/onnxruntime/capi/libonnxruntime.so.*' -delete \
 && /opt/venv/bin/python -m compileall -q -j 0 /opt/venv/lib

FROM ${BASE}
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DIGITS_HOST=0.0.0.0 \
    DIGITS_PORT=8000
COPY --from=build /opt/venv /opt/venv
# The service looks for .env in its working folder. There is none in /, and its user cannot create one.
WORKDIR /
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-m", "app.cli.health_check"]
ENTRYPOINT ["digitserve"]
CMD ["serve"]
