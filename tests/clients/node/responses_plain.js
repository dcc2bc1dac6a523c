// node responses_plain.js <base URL> <key> <model> <text>

import { client, model, tell, text } from "./client.js";

const response = await client.responses.create({ model, input: text });
tell({
  status: response.status,
  incomplete: response.incomplete_details,
  output: response.output,
  text: response.output_text,
  safety: response.safety,
  usage: response.usage,
});
