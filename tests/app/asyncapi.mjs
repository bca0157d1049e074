// Validates what comes on standard input, {"document": …, "entries": [{"message", "headers", "payload"}, …]}: the document against the
// official schema of AsyncAPI 3.0.0, and each entry against what the document says of its message. Prints what is wrong, as JSON.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const packages = createRequire(process.argv[2]);
const Ajv = packages("ajv");
const addFormats = packages("ajv-formats");

function checker(options) {
  const ajv = new Ajv({ strict: false, allErrors: true, ...options });
  addFormats(ajv);
  return ajv;
}

const { document, entries } = JSON.parse(await text(process.stdin));
const official = checker({ meta: false }).compile(packages("@asyncapi/specs").schemas["3.0.0"]);
const problems = official(document) ? [] : official.errors.map((error) => `${error.instancePath} ${error.message}`);

const ajv = checker();
ajv.addSchema({ $id: "document", ...document });
for (const { message, headers, payload } of entries) {
  for (const [part, value] of Object.entries({ headers, payload })) {
    if (value === undefined) continue;
    const matches = ajv.compile({ $ref: `document#/components/messages/${message}/${part}` });
    if (!matches(value)) problems.push(...matches.errors.map((error) => `${message} ${part}${error.instancePath} ${error.message}`));
  }
}
console.log(JSON.stringify(problems));
