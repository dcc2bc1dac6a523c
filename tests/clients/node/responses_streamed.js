// node responses_streamed.js <base URL> <key> <model> <text>: raw events, and the SDK's own accumulator.

import { client, model, tell, text } from "./client.js";

const types = [];
let last = null;
const asked = { model, input: text, safety: {}, stream: true };
for await (const event of await client.responses.create(asked)) {
  types.push(event.type);
  last = event.response ?? last;
}

const stream = client.responses.stream({ model, input: text });
const told = { types, status: last.status, output: last.output, safety: last.safety };
try {
  // This SDK sets `output_text` on plain responses only.
  const parts = (await stream.finalResponse()).output.flatMap((item) => item.content);
  tell({ ...told, text: parts.filter((part) => part.type === "output_text").map((part) => part.text).join("") });
} catch (error) {
  tell({ ...told, raised: error.constructor.name });
}
