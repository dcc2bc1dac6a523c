// What users of the responses API meet. A case asks, and returns what it read.

import { makeParseableTextFormat } from "openai/lib/parser";

import { base, client, look, model, outcome, sight, text as input } from "./client.js";

const tools = [{ type: "function", ...look }];
const text = { format: makeParseableTextFormat({ type: "json_schema", ...sight }, JSON.parse) };

export async function plain() {
  const response = await client.responses.create({ model, input });
  return { ...read(response), text: response.output_text };
}

export async function events() {
  const told = { types: [], reasoning: "", steps: [] };
  const asked = { model, input, safety: {}, stream: true };
  let last = null;
  for await (const event of await client.responses.create(asked)) {
    told.types.push(event.type);
    if (event.type === "response.reasoning_text.delta") told.reasoning += event.delta;
    if (event.type === "response.safety.step") told.steps.push(event.step);
    last = event.response ?? last;
  }
  return { ...told, ...read(last), text: said(last) };
}

export async function accumulated() {
  const stream = client.responses.stream({ model, input });
  let heard = "";
  let declined = "";
  let ended = null;
  // This SDK's final response stays as it was under way where a response ends incomplete.
  for (const status of ["completed", "incomplete"]) stream.on(`response.${status}`, ({ response }) => (ended = response));
  stream.on("response.output_text.delta", ({ delta }) => (heard += delta));
  stream.on("response.refusal.delta", ({ delta }) => (declined += delta));
  // It sets `output_text` on plain responses only.
  const text = said(await stream.finalResponse());
  return { ...read(ended), text, heard, declined };
}

export async function parsed() {
  const asked = { model: base, input, text };
  return outcome(async () => (await client.responses.parse(asked)).output_parsed);
}

export async function calls() {
  return called(await client.responses.parse({ model, input, tools }));
}

export async function callsFromStream() {
  const stream = client.responses.stream({ model, input, tools });
  const done = [];
  stream.on("response.function_call_arguments.done", (event) => done.push(event.arguments));
  return { ...called(await stream.finalResponse()), done };
}

export async function busy() {
  return outcome(() => client.responses.create({ model, input, stream: true }));
}

export async function helperAborted() {
  const stream = client.responses.stream({ model, input });
  stream.once("response.reasoning_text.delta", () => stream.abort());
  return outcome(() => stream.done());
}

function read({ status, incomplete_details, output, safety, usage }) {
  return { status, incomplete: incomplete_details, output, safety, usage };
}

function said({ output }) {
  const parts = output.flatMap((item) => item.content ?? []);
  return parts.filter((part) => part.type === "output_text").map((part) => part.text).join("");
}

function called({ status, output }) {
  return { status, calls: output.filter((item) => item.type === "function_call") };
}
