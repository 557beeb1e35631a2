# One image for every role: `docker run tocsin worker router`. Settings come by TOCSIN_CONFIG or TOCSIN_SECTION__KEY.
# The base is pinned by digest; `make lock` pins it anew.

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS build
WORKDIR /build
COPY requirements-uv.txt requirements-production.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements-uv.txt \
    && python -m venv --without-pip /opt/tocsin \
    && uv pip install --python /opt/tocsin/bin/python --no-cache --no-build --require-hashes --compile-bytecode \
        -r requirements-production.txt

# No compiler, no Java, no test tools, no package manager of Python: `tocsin dev`, `tocsin demo` and tests need a checkout.
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
RUN python -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
    && groupadd --gid 10001 tocsin && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin tocsin \
    && install -d -o tocsin -g tocsin -m 0700 /var/lib/tocsin
COPY --from=build /opt/tocsin /opt/tocsin
WORKDIR /tocsin
COPY schemas schemas
COPY tables tables
COPY agents agents
COPY app app
COPY clients/web clients/web
# The root file system is read-only where it runs, so bytecode is made here.
RUN /opt/tocsin/bin/python -m compileall -q schemas tables agents app
USER 10001:10001
ENV PATH=/opt/tocsin/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TOCSIN_DATA__DIR=/var/lib/tocsin

HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["python", "-m", "app.health"]
ENTRYPOINT ["python", "-m", "app.cli"]
