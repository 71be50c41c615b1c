// Anthropic's npm SDK: messages and counting.
"use strict";
const Anthropic = require("@anthropic-ai/sdk");
const { ASKED, TOOL, WEATHER, said, run } = require("./spoken.cjs");

const clientOf = (target) => new Anthropic({ baseURL: target.url, apiKey: target.key });
const request = (models) => ({ model: models.chat, messages: [{ role: "user", content: ASKED }], max_tokens: 30 });
const told = (message, more) => {
  const text = message.content.map((block) => block.text ?? "").join("");
  return said(text, message.usage.input_tokens, message.usage.output_tokens, more);
};

const plain = async (target, models) => told(await clientOf(target).messages.create(request(models)));

const stream = async (target, models) => told(await clientOf(target).messages.stream(request(models)).finalMessage());

async function events(target, models) {
  let text = "";
  const usage = {};
  for await (const event of await clientOf(target).messages.create({ ...request(models), stream: true })) {
    text += event.delta?.text ?? "";
    Object.assign(usage, event.message?.usage, event.usage);
  }
  return said(text, usage.input_tokens, usage.output_tokens);
}

async function tools(target, models) {
  const more = { tools: [{ name: TOOL, input_schema: WEATHER }], tool_choice: { type: "any" } };
  const message = await clientOf(target).messages.create({ ...request(models), ...more });
  const [call] = message.content;
  return told(message, { called: [call.name, call.input] });
}

async function count(target, models) {
  const { max_tokens: _, ...asked } = request(models);
  const counted = await clientOf(target).messages.countTokens(asked);
  return said("", counted.input_tokens, null);
}

run({ plain, stream, "stream of events": events, tools, "free count": count });
