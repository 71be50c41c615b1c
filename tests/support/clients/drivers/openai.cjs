// OpenAI's npm SDK: chat completions, responses and embeddings.
"use strict";
const OpenAI = require("openai");
const { ASKED, TOOL, WEATHER, said, run } = require("./spoken.cjs");

const clientOf = (target) => new OpenAI({ baseURL: `${target.url}/v1`, apiKey: target.key });
const request = (models) => ({ model: models.chat, messages: [{ role: "user", content: ASKED }], max_tokens: 30 });
const asked = (models) => ({ model: models.chat, input: ASKED, max_output_tokens: 30 });
const told = (usage) => [usage.input_tokens ?? usage.prompt_tokens, usage.output_tokens ?? usage.completion_tokens];
const offered = { type: "function", function: { name: TOOL, parameters: WEATHER } };

async function plain(target, models) {
  const whole = await clientOf(target).chat.completions.create(request(models));
  return said(whole.choices[0].message.content, ...told(whole.usage));
}

async function stream(target, models) {
  const options = { stream: true, stream_options: { include_usage: true } };
  let text = "";
  let usage = {};
  for await (const chunk of await clientOf(target).chat.completions.create({ ...request(models), ...options })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  return said(text, ...told(usage));
}

async function tools(target, models) {
  const more = { tools: [offered], tool_choice: "required" };
  const whole = await clientOf(target).chat.completions.create({ ...request(models), ...more });
  const [call] = whole.choices[0].message.tool_calls;
  return said("", ...told(whole.usage), { called: [call.function.name, call.function.arguments] });
}

async function responses(target, models) {
  const whole = await clientOf(target).responses.create(asked(models));
  return said(whole.output_text, ...told(whole.usage));
}

async function responsesStream(target, models) {
  const whole = await clientOf(target).responses.stream(asked(models)).finalResponse();
  return said(whole.output_text, ...told(whole.usage));
}

async function embeddings(target, models) {
  const made = await clientOf(target).embeddings.create({ model: models.embed, input: ASKED });
  return said(String(made.data[0].embedding.slice(0, 4)), made.usage.prompt_tokens, 0);
}

run({ plain, stream, tools, responses, "responses stream": responsesStream, embeddings }, ["plain", "responses"]);
