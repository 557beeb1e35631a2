# One image for every role: `docker run tocsin worker router`. Settings come by TOCSIN_CONFIG or TOCSIN_SECTION__KEY.
FROM python:3.11-slim

WORKDIR /tocsin
COPY requirements-uv.txt requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements-uv.txt \
    && uv pip install --system --no-cache --require-hashes -r requirements.txt

COPY schemas schemas
COPY tables tables
COPY agents agents
COPY app app
RUN groupadd --gid 10001 tocsin && useradd --uid 10001 --gid 10001 --no-create-home tocsin \
    && install -d -o tocsin -g tocsin -m 0700 /var/lib/tocsin
USER tocsin
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TOCSIN_DATA__DIR=/var/lib/tocsin

ENTRYPOINT ["python", "-m", "app.cli"]
