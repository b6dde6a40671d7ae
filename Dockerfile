# vllm-image-mcp, for a host that starts its servers in containers:
#   docker build -t vllm-image-mcp .
#   docker run --rm -i --read-only --tmpfs /tmp -v "$PWD/images:/images" -e VLLM_IMAGE_URL=http://gpu:6655 \
#     vllm-image-mcp
FROM python:3.13-slim-trixie AS build
COPY --from=ghcr.io/astral-sh/uv:0.9.13 /uv /usr/local/bin/
ENV UV_PROJECT_ENVIRONMENT=/app UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY packages/ packages/
# Bytecode is compiled here: the file system is read-only later, and a start without it takes twice as long.
RUN uv sync --locked --no-dev --no-editable --compile-bytecode --package vllm-image-mcp

FROM python:3.13-slim-trixie
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONDONTWRITEBYTECODE=1 VLLM_IMAGE_OUTPUT_DIR=/images HOME=/tmp
RUN mkdir /images && chown 10001:10001 /images
USER 10001:10001
WORKDIR /images
VOLUME /images
HEALTHCHECK --interval=60s --timeout=15s CMD ["vllm-image-mcp", "health"]
ENTRYPOINT ["vllm-image-mcp"]
