// Swagger UI keeps what the fields of a form hold when another content type is chosen, and shows it as JSON. This
// plugin drops it, so that the example of the new type appears.
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

// Swagger UI has dark colours under this class, and does not set it by itself.
const dark = matchMedia("(prefers-color-scheme: dark)");
const setColours = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", setColours);
setColours();

// The validator is off: it would send the document to another host.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  plugins: [dropBodyOfOtherType],
});
