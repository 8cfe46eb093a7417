# The service as a container: what serving on a CPU needs, a numeric user without rights, nothing else.
#
#   docker build -t digitserve .                              CPU, ONNX Runtime
#   docker build -t digitserve:cuda --build-arg EXTRA=torch . CUDA, torch (about 6 GB; run with --gpus all)

ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS build
ARG EXTRA=""
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
# The dependencies first: they change less often than the code, and a layer that is unchanged is not built again.
COPY pyproject.toml README.md LICENSE ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
      print('\n'.join(p['dependencies'] + p['optional-dependencies'].get('${EXTRA}', [])))" > requirements.txt \
 && pip --python /opt/venv/bin/python install --no-cache-dir --no-compile -r requirements.txt
COPY app ./app
COPY training ./training
COPY models ./models
RUN pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps . \
 && find /opt/venv -name tests -type d -prune -exec rm -rf {} + \
 && /opt/venv/bin/python -m compileall -q -j 0 /opt/venv/lib

FROM ${BASE}
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DIGITS_HOST=0.0.0.0 \
    DIGITS_PORT=8000
COPY --from=build /opt/venv /opt/venv
# / is where .env would be looked for: none is there, and nothing can be written.
WORKDIR /
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['DIGITS_PORT']}/readyz\", timeout=2)"]
ENTRYPOINT ["digitserve"]
CMD ["serve"]
