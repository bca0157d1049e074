"use strict";

window.addEventListener("load", () => {
  window.ui = SwaggerUIBundle({
    url: "/api/schema",
    dom_id: "#app",
    deepLinking: true,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis],
  });
});
