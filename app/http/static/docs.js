// Swagger UI keeps what the fields of a form hold when another content type is chosen, and shows it as JSON. This plugin
// drops it, so that the example of the new type appears.
const dropBodyOfOtherType = () => ({
  statePlugins: {
    oas3: {
      wrapActions: {
        setRequestContentType: (original, system) => (choice) => {
          system.oas3Actions.setRequestBodyValue({ value: undefined, pathMethod: choice.pathMethod });
          return original(choice);
        },
      },
    },
  },
});

// The validator is off: it would send the document to another host.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  plugins: [dropBodyOfOtherType],
});
