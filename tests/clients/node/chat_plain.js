// node chat_plain.js <base URL> <key> <model> <text>

import { client, messages, model, tell } from "./client.js";

const completion = await client.chat.completions.create({ model, messages });
const [choice] = completion.choices;
tell({
  content: choice.message.content,
  refusal: choice.message.refusal,
  reasoning: choice.message.reasoning,
  finish: choice.finish_reason,
  safety: choice.message.safety,
  usage: completion.usage,
});
