// What users of chat completions meet. A case asks, and returns what it read.

import { makeParseableResponseFormat } from "openai/lib/parser";

import { base, client, look, model, outcome, sight, text } from "./client.js";

const messages = [{ role: "user", content: text }];
const tools = [{ type: "function", function: look }];
const form = makeParseableResponseFormat({ type: "json_schema", json_schema: sight }, JSON.parse);

export async function plain() {
  const completion = await client.chat.completions.create({ model, messages });
  return read(completion.choices[0].message, completion);
}

export async function chunks() {
  const asked = { model, messages, stream: true, stream_options: { include_usage: true } };
  const told = { content: "", refusal: "", reasoning: "", finish: null, safety: null, usage: null, steps: [] };
  for await (const chunk of await client.chat.completions.create(asked)) {
    told.usage = chunk.usage ?? told.usage;
    for (const choice of chunk.choices) {
      const { content, refusal, reasoning, safety } = choice.delta;
      told.content += content ?? "";
      told.refusal += refusal ?? "";
      told.reasoning += reasoning ?? "";
      if (safety?.step) told.steps.push(safety.step);
      told.safety = safety ?? told.safety;
      told.finish = choice.finish_reason ?? told.finish;
    }
  }
  return told;
}

export async function accumulated() {
  const counted = { stream_options: { include_usage: true } };
  const runner = client.chat.completions.stream({ model, messages, ...counted });
  let heard = "";
  let declined = "";
  let reasoning = "";
  const ends = [];
  // Of a field that it does not know this SDK's message keeps the last piece; `safety` comes whole, and last.
  runner.on("chunk", ({ choices }) => (reasoning += choices[0]?.delta.reasoning ?? ""));
  runner.on("content", (delta) => (heard += delta));
  runner.on("refusal.delta", ({ delta }) => (declined += delta));
  for (const name of ["content.done", "refusal.done", "finalMessage", "end"]) runner.on(name, () => ends.push(name));
  const message = await runner.finalMessage();
  return { ...read(message, await runner.finalChatCompletion()), heard, declined, reasoning, ends };
}

export async function onlySteps() {
  const asked = { model, messages, safety: { trace: "steps" } };
  const { choices } = await client.chat.completions.create(asked);
  const { reasoning, safety } = choices[0].message;
  return { reasoning, safety };
}

export async function parsed() {
  const asked = { model: base, messages, response_format: form };
  return outcome(async () => (await client.chat.completions.parse(asked)).choices[0].message.parsed);
}

export async function parsedFromStream() {
  const runner = client.chat.completions.stream({ model: base, messages, response_format: form });
  return outcome(async () => (await runner.finalMessage()).parsed);
}

export async function parsedBesideTrace() {
  return outcome(() => client.chat.completions.parse({ model, messages, response_format: form }));
}

export async function calls() {
  const { choices } = await client.chat.completions.parse({ model, messages, tools });
  return { finish: choices[0].finish_reason, calls: choices[0].message.tool_calls };
}

export async function callsFromStream() {
  const runner = client.chat.completions.stream({ model, messages, tools });
  const done = [];
  runner.on("tool_calls.function.arguments.done", (call) => done.push(call));
  const { choices } = await runner.finalChatCompletion();
  return { finish: choices[0].finish_reason, calls: choices[0].message.tool_calls, done };
}

export async function toolsRun() {
  const seen = [];
  const run = { ...look, parse: JSON.parse, function: (at) => (seen.push(at), "a cat") };
  const runner = client.chat.completions.runTools({ model, messages, tools: [{ type: "function", function: run }] });
  return { content: await runner.finalContent(), seen };
}

export async function busy() {
  return outcome(() => client.chat.completions.create({ model, messages }));
}

export async function patient() {
  const { choices } = await client.chat.completions.create({ model, messages }, { maxRetries: 1 });
  return choices[0].message.content;
}

export async function late() {
  const asked = { model, messages, stream: true };
  return outcome(() => client.chat.completions.create(asked, { timeout: 2_000 }));
}

export async function aborted() {
  const stream = await client.chat.completions.create({ model, messages, stream: true });
  let count = 0;
  for await (const _ of stream) {
    count += 1;
    stream.controller.abort();
  }
  return count;
}

export async function helperAborted() {
  const runner = client.chat.completions.stream({ model, messages });
  runner.once("chunk", () => runner.abort());
  return outcome(() => runner.done());
}

function read(message, { choices, usage }) {
  const { content, refusal, reasoning, safety } = message;
  return { content, refusal, reasoning, safety, finish: choices[0].finish_reason, usage };
}
