# One image for head, CPU and GPU pods: the code, Ray and a CUDA torch; weights come from a volume.
#   docker build -t greenlight-serve:0.1.0 .
FROM python:3.12-slim

# wget is what KubeRay's probes call inside the pods.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 ray \
    && install --directory --owner ray /var/lib/greenlight

WORKDIR /opt/greenlight
COPY pyproject.toml README.md LICENSE ./
COPY serve_app serve_app
COPY deployments deployments
RUN pip install --no-cache-dir ".[postgres]"

USER ray
WORKDIR /home/ray
ENV PYTHONUNBUFFERED=1

EXPOSE 8000
CMD ["greenlight", "--help"]
