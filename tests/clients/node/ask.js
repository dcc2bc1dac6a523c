// node ask.js <base URL> <key> <model> <base model> <text> <API.case>...
// One process for many cases, since the SDK takes long to load; what each read, as a JSON list on stdout.

import * as chat from "./chat.js";
import { cases } from "./client.js";
import * as responses from "./responses.js";

const apis = { chat, responses };
const told = [];
for (const name of cases) {
  const [api, asking] = name.split(".");
  told.push(await apis[api][asking]());
}
process.stdout.write(JSON.stringify(told) + "\n");
