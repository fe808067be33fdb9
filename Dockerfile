# docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 -t jagpt .
# docker run --rm -v "$PWD:/work" jagpt run quickstart
FROM python:3.11-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN apt-get update && apt-get install -y --no-install-recommends git git-lfs && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY src /src/src
RUN python -m pip install --no-cache-dir --constraint /src/constraints.txt --extra-index-url "$TORCH_INDEX" '/src[train]'
RUN useradd --create-home jagpt && mkdir /work && chown jagpt /work
USER jagpt
WORKDIR /work
ENTRYPOINT ["jagpt"]
CMD ["--help"]
