"""A page that shows the OpenAPI description of the API without any foreign server."""

DOCS_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Offhook API</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
         color: #1c2430; background: #fff; }
  details { border: 1px solid #d5dbe3; border-radius: 6px; margin: .5rem 0; padding: .5rem .75rem; }
  summary { cursor: pointer; }
  code, .method { font-family: ui-monospace, monospace; }
  .method { display: inline-block; width: 4rem; font-weight: 700; color: #0b5cad; }
  table { border-collapse: collapse; width: 100%; margin: .75rem 0; font-size: .9rem; }
  td, th { text-align: left; padding: .25rem .5rem; border-top: 1px solid #e4e8ee; vertical-align: top; }
  @media (prefers-color-scheme: dark) {
    body { color: #dfe5ee; background: #12161c; } .method { color: #6fb3f2; }
    details { border-color: #333c48; } td, th { border-color: #2a323d; }
  }
</style>
<h1>Offhook API</h1>
<p>The machine-readable description is <a href="openapi.json">openapi.json</a>. Any official
<code>telnyx</code> SDK speaks this API with its base URL set to <code id="base"></code>.</p>
<main id="paths">Loading...</main>
<script>
const element = (tag, text) => {
  const made = document.createElement(tag);
  made.textContent = text ?? "";
  return made;
};
const kind = (schema) => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const) return String(schema.const);
  if (schema.anyOf) return schema.anyOf.filter((one) => one.type !== "null").map(kind).join(" or ");
  if (schema.type === "array") return "list of " + kind(schema.items);
  return schema.type ?? "any";
};
const table = (schema) => {
  const made = document.createElement("table");
  made.append(element("tr"));
  for (const title of ["parameter", "type", "default"]) made.rows[0].append(element("th", title));
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const row = made.insertRow();
    const required = (schema.required ?? []).includes(name);
    row.append(element("td", name + (required ? " *" : "")), element("td", kind(field)));
    row.append(element("td", field.default == null ? "" : JSON.stringify(field.default)));
  }
  return made;
};
const show = (description) => {
  const main = document.getElementById("paths");
  main.textContent = "";
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const box = document.createElement("details");
      const head = document.createElement("summary");
      const label = element("span", method.toUpperCase());
      label.className = "method";
      head.append(label, element("code", path));
      box.append(head, element("p", operation.description));
      const body = operation.requestBody?.content["application/json"].schema.$ref;
      if (body) box.append(table(description.components.schemas[body.split("/").pop()]));
      main.append(box);
    }
  }
};
document.getElementById("base").textContent = location.origin + "/v2";
fetch("openapi.json").then((answer) => answer.json()).then(show);
</script>
</html>
"""
