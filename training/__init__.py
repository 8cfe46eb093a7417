"""Makes, measures and describes the models that the service serves. The service itself never imports this."""
