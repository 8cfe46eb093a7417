// Swagger UI for this service's own OpenAPI document. The validator is off: it would send the document to another host.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
