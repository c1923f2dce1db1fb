# Two images: `serve` has no torch; `export` adds what turns a method and weights into a model folder.
#   docker build --target serve -t kokeshi .            docker run -p 8000:8000 -p 8001:8001 kokeshi
#   docker build --target export -t kokeshi-export .

FROM python:3.11-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 UV_LINK_MODE=copy
RUN pip install --no-cache-dir uv==0.13.9 && useradd --create-home kokeshi
WORKDIR /opt/kokeshi

FROM base AS serve
COPY requirements/serve.txt requirements/
RUN uv pip install --system --no-cache --require-hashes -r requirements/serve.txt
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY plugins plugins
RUN uv pip install --system --no-cache --no-deps .
COPY model_repository /models
RUN install -d -o kokeshi /data
USER kokeshi
ENV KOKESHI_REPOSITORY=/models KOKESHI_DATA=/data \
    KOKESHI_HTTP=0.0.0.0:8000 KOKESHI_GRPC=0.0.0.0:8001 KOKESHI_LOG_FORMAT=json
VOLUME /data
EXPOSE 8000 8001
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v1/health/ready')"
ENTRYPOINT ["kokeshi"]
CMD ["serve"]

FROM serve AS export
USER root
COPY requirements/export.txt requirements/
RUN uv pip install --system --no-cache --require-hashes -r requirements/export.txt
USER kokeshi
CMD ["export", "--help"]
