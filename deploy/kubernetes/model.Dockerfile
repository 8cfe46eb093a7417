# A model folder as an image, for components/model:
#
#   docker build -t registry.example.org/digitserve-model:1.7.0 -f deploy/kubernetes/model.Dockerfile models/digitnet-1.7.0

FROM scratch
COPY . /
