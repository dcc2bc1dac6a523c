// node chat_streamed.js <base URL> <key> <model> <text>: raw chunks, and the SDK's own accumulator.

import { client, messages, model, tell } from "./client.js";

const asked = { model, messages, stream: true, stream_options: { include_usage: true } };
const told = { content: "", refusal: "", reasoning: "", finish: null, safety: null, usage: null };
for await (const chunk of await client.chat.completions.create(asked)) {
  told.usage = chunk.usage ?? told.usage;
  for (const choice of chunk.choices) {
    told.content += choice.delta.content ?? "";
    told.refusal += choice.delta.refusal ?? "";
    told.reasoning += choice.delta.reasoning ?? "";
    told.safety = choice.delta.safety ?? told.safety;
    told.finish = choice.finish_reason ?? told.finish;
  }
}

const runner = client.chat.completions.stream({ model, messages });
let accumulated = null;
try {
  accumulated = (await runner.finalChatCompletion()).choices[0].message.content;
} catch (error) {
  told.raised = error.constructor.name;
}
tell({ ...told, accumulated });
