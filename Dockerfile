# bids_distclip in a container, with weights, template and BIDS validator inside. Builds with and without BuildKit:
#   docker build -t bids_distclip .                               for processors
#   docker build -t bids_distclip:cuda --build-arg VARIANT=cuda .  for NVIDIA cards
# Where the package index offers only torch for CUDA, as PyPI does, the build for processors needs PyTorch's own
# wheels: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG BASE_IMAGE=python:3.11-slim-bookworm
# Where packages are installed: the same Python, with venv and pip.
ARG BUILD_IMAGE=${BASE_IMAGE}

FROM ${BUILD_IMAGE} AS build
ARG VARIANT=cpu
ARG TORCH_INDEX=
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
COPY constraints-cpu.txt setup.cfg scripts/image-requirements /requirements/
# Dependencies first: they change less often than the code, and are most of the image.
RUN python3 -m venv /opt/distclip \
    && python3 /requirements/image-requirements "${VARIANT}" /requirements > /requirements/all.txt \
    && /opt/distclip/bin/pip install --no-cache-dir --no-compile setuptools wheel \
    && PIP_EXTRA_INDEX_URL="${TORCH_INDEX}" /opt/distclip/bin/pip install --no-cache-dir --no-compile -r /requirements/all.txt \
    && /opt/distclip/bin/pip install --no-cache-dir --no-compile --no-deps -c /requirements/constraints-cpu.txt ipyniivue \
    && if [ "${VARIANT}" = cpu ]; then /opt/distclip/bin/python -c "import torch; assert torch.version.cuda is None, \
       'this is torch for CUDA: give --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu, or VARIANT=cuda'"; fi
COPY . /src
# What no run reads is left out; then one phantom is harmonized, so that the image is proven and what a run imports
# is compiled.
RUN /opt/distclip/bin/pip install --no-cache-dir --no-compile --no-deps --no-build-isolation /src \
    && python3 /src/scripts/image-slim /opt/distclip \
    && /opt/distclip/bin/distclip simulate /tmp/phantom --heads 1 --scanners 1 --suffixes T1w --spacing 4 \
    && /opt/distclip/bin/bids_distclip /tmp/phantom /tmp/out participant group --device cpu --planes 1 \
    && rm -rf /tmp/* && mkdir -p /opt/templateflow \
    && /opt/distclip/bin/python -c "from bids_distclip import __version__; print(__version__)" > /version

FROM ${BASE_IMAGE}
ARG VARIANT=cpu
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bids_distclip" \
      org.opencontainers.image.description="BIDS App that harmonizes brain MRI between scanners" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.bids_distclip.variant="${VARIANT}"
COPY --from=build /opt/templateflow /opt/templateflow
COPY --from=build /version /version
COPY --from=build /opt/distclip /opt/distclip
RUN mkdir -p /data /out /work && chmod 777 /out /work
# Any user may run it: home and caches lie where everybody may write, also when the container is read-only.
ENV PATH=/opt/distclip/bin:$PATH HOME=/tmp TMPDIR=/tmp XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TEMPLATEFLOW_HOME=/opt/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=0 NO_ET=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
WORKDIR /tmp
ENTRYPOINT ["bids_distclip"]
