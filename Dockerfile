# Everything installs from wheels, so the first stage needs no compiler and the second no pip.
FROM python:3.13-slim AS packages
WORKDIR /build
COPY constraints.txt pyproject.toml README.md ./
COPY src src
RUN python -m venv /opt/headrace \
    && /opt/headrace/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home headrace
COPY --from=packages /opt/headrace /opt/headrace
WORKDIR /app
COPY openapi.yaml queue.yaml cron.yaml gunicorn.conf.py ./
COPY api api
COPY handlers handlers
COPY governance governance
ENV PATH=/opt/headrace/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HEADRACE_DATA=/tmp/headrace \
    PORT=8080
USER 10001
# The exec form: SIGTERM reaches gunicorn itself, which then finishes what runs.
CMD ["gunicorn", "--config", "gunicorn.conf.py", "headrace.service:create_app()"]
