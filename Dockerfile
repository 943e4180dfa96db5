ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS wheel
COPY . /src
RUN python3 -m venv /build && /build/bin/pip install --no-cache-dir setuptools wheel \
    && /build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps -w /wheels /src

FROM ${BASE_IMAGE} AS runtime
COPY constraints-cpu.txt setup.cfg pyproject.toml /opt/requirements/
# Dependencies first: they change less often than the code, and are most of the image.
RUN python3 -m venv /opt/distclip \
    && python3 -c "import configparser; c = configparser.ConfigParser(); c.read('/opt/requirements/setup.cfg'); print(c['options']['install_requires'])" > /opt/requirements/requirements.txt \
    && /opt/distclip/bin/pip install --no-cache-dir -c /opt/requirements/constraints-cpu.txt -r /opt/requirements/requirements.txt
COPY --from=wheel /wheels /wheels
RUN /opt/distclip/bin/pip install --no-cache-dir --no-deps /wheels/*.whl && rm -rf /wheels \
    && /opt/distclip/bin/python -c "from bids_distclip import __version__; print(__version__)" > /version \
    && mkdir -p /data /out /work /scratch /opt/templateflow && chmod 777 /out /work /scratch
ENV PATH=/opt/distclip/bin:$PATH HOME=/tmp TMPDIR=/tmp MPLCONFIGDIR=/tmp/matplotlib PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TEMPLATEFLOW_HOME=/opt/templateflow TEMPLATEFLOW_AUTOUPDATE=0 \
    NO_ET=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
WORKDIR /tmp
ENTRYPOINT ["bids_distclip"]
