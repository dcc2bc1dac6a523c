// The official Node SDK as any application uses it; a failure must not hide behind a retry.

import OpenAI from "openai";

export const [baseURL, apiKey, model, text] = process.argv.slice(2);
export const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });
export const messages = [{ role: "user", content: text }];

// What a test compares: one JSON object on standard output.
export function tell(told) {
  process.stdout.write(JSON.stringify(told) + "\n");
}
