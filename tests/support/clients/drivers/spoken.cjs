// What the drivers of npm clients share: the same report as spoken.py's, line for line.
"use strict";
const fs = require("node:fs");

const ASKED = "Tell me about the sea and its ships.";
const TOOL = "get_weather";
const WEATHER = {
  type: "object",
  properties: { city: { type: "string", enum: ["Oslo"] }, days: { type: "integer" } },
  required: ["city", "days"],
};

const said = (text, input, output, more = {}) => ({ text: text || "", input, output, ...more });

function failed(error) {
  const classes = [];
  for (let kind = error.constructor; kind && kind.name; kind = Object.getPrototypeOf(kind)) classes.push(kind.name);
  return { classes, status: error.status ?? null, message: String(error) };
}

async function run(modes, faults = ["plain"]) {
  const job = JSON.parse(fs.readFileSync(0, "utf8"));
  for (const [name, target] of Object.entries(job.targets)) {
    for (const [mode, call] of Object.entries(modes)) {
      if (name !== "direct" && name !== "through" && !faults.includes(mode)) continue;
      let outcome;
      try {
        outcome = { said: await call(target, job.models) };
      } catch (error) {
        outcome = { failed: failed(error) };
      }
      console.log(JSON.stringify({ mode, target: name, ...outcome }));
    }
  }
}

module.exports = { ASKED, TOOL, WEATHER, said, run };
