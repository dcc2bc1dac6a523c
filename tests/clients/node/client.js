// The official Node SDK as any application uses it; a failure must not hide behind a retry.

import OpenAI from "openai";

const [, , baseURL, apiKey, ...rest] = process.argv;
export const [model, base, text, ...cases] = rest;
export const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });

// What a test compares of an error.
export function fields(error) {
  const { status, code, param, headers } = error;
  const retryAfter = headers?.get("retry-after") ?? null;
  return { raised: error.constructor.name, status, code, param, retryAfter };
}

// What `asking` came to, or how it failed.
export async function outcome(asking) {
  try {
    return await asking();
  } catch (error) {
    return fields(error);
  }
}

// A form as `zodResponseFormat` and `zodTextFormat` write it, and what they read with it.
export const sight = {
  name: "Sight",
  strict: true,
  schema: {
    type: "object",
    properties: { animal: { type: "string" } },
    required: ["animal"],
    additionalProperties: false,
  },
};

export const look = {
  name: "look",
  strict: true,
  parameters: {
    type: "object",
    properties: { at: { type: "string" } },
    required: ["at"],
    additionalProperties: false,
  },
};
