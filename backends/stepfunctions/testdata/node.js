// Answers questions about state machines, one JSON object a line, with libraries that are not ours: asl-validator judges
// them, and jsonata (the language's own implementation) computes what their jobs are told.
"use strict";
const readline = require("readline");
const { createRequire } = require("module");
const library = createRequire(process.argv[2]);
const validator = library("asl-validator");
const jsonata = library("jsonata");

// evaluate fills in a value of a state machine as Step Functions does: each {% … %} string, however deep.
async function evaluate(value, states) {
  if (typeof value === "string") {
    const match = /^\{% (.*) %\}$/s.exec(value);
    if (!match) return value;
    const result = await jsonata(match[1]).evaluate({}, { states });
    if (result === undefined) throw new Error(`nothing comes out of ${value}`);
    return result;
  }
  if (Array.isArray(value)) return Promise.all(value.map((item) => evaluate(item, states)));
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).map(async ([key, item]) => [key, await evaluate(item, states)]);
  return Object.fromEntries(await Promise.all(entries));
}

// Interpreter runs a state machine without Batch and S3: each job ends as failures say, its step's first first, and when
// these are used up it succeeds and leaves its list where it was told to.
class Interpreter {
  constructor({ widths, failures }) {
    this.widths = widths ?? {};
    this.failures = failures ?? {};
    this.jobs = [];
    this.objects = new Map();
    this.children = 0;
  }

  async run(machine, input, context) {
    for (let name = machine.StartAt; ; ) {
      const state = machine.States[name];
      input = await this.retry(name, state, input, context);
      if (state.End) return input;
      name = state.Next;
    }
  }

  // retry enters a state as often as its retriers allow.
  async retry(name, state, input, context) {
    const used = new Map();
    for (let RetryCount = 0; ; RetryCount++) {
      const states = { input, context: { ...context, State: { Name: name, RetryCount } } };
      try {
        return await this.enter(state, states, context);
      } catch (error) {
        const retrier = state.Retry?.find(({ ErrorEquals }) =>
          ErrorEquals.some((e) => e === error.name || (e === "States.TaskFailed" && error.batch)));
        if (!retrier || (used.get(retrier) ?? 0) >= retrier.MaxAttempts) throw error;
        used.set(retrier, (used.get(retrier) ?? 0) + 1);
      }
    }
  }

  async enter(state, states, context) {
    switch (state.Type) {
      case "Task":
        await this.submit(await evaluate(state.Arguments, states));
        break;
      case "Parallel":
        for (const branch of state.Branches) await this.run(branch, states.input, context);
        break;
      case "Map":
        await this.map(state, states, context);
        break;
      default:
        throw new Error(`state of type ${state.Type}`);
    }
    return evaluate(state.Output, states);
  }

  async submit(job) {
    this.jobs.push(job);
    const command = job.ContainerOverrides.Command;
    const failure = this.failures[command[command.indexOf("--step") + 1]]?.shift();
    if (failure) throw Object.assign(new Error(failure), { name: failure, batch: true });
    for (const { Name, Value } of job.ContainerOverrides.Environment ?? []) {
      if (Name !== "MF_SPLIT_LIST") continue;
      const width = this.widths[command[command.indexOf("--step") + 1]];
      this.objects.set(`bucket/mf/${Value}`, Array.from({ length: width }, (_, i) => i));
    }
  }

  async map(state, states, context) {
    let items = state.Items;
    if (state.ItemReader) {
      const { Bucket, Key } = await evaluate(state.ItemReader.Arguments, states);
      items = this.objects.get(`${Bucket}/${Key}`);
      if (!items) throw new Error(`nothing was left at ${Bucket}/${Key}`);
    }
    const outputs = [];
    for (const [Index, Value] of items.entries()) {
      const inner = { ...states.context, Map: { Item: { Index, Value } } };
      const input = await evaluate(state.ItemSelector, { input: states.input, context: inner });
      // A child of a Distributed Map is an execution of its own name.
      const below =
        state.ItemProcessor.ProcessorConfig.Mode === "DISTRIBUTED"
          ? { Execution: { Name: `child-${this.children++}`, Input: input } }
          : inner;
      outputs.push(await this.run(state.ItemProcessor, input, below));
    }
    if (JSON.stringify(outputs).length > 3 * items.length + 1) throw new Error("children leave an output");
  }
}

async function answer({ definition, execute }) {
  if (!execute) {
    const { errors } = validator(definition);
    return { problems: errors.map((e) => e.Message ?? `${e.instancePath} ${e.message}`) };
  }
  const interpreter = new Interpreter(execute);
  const context = { Execution: { Name: execute.name, Input: execute.input } };
  const output = await interpreter.run(definition, execute.input, context);
  return { jobs: interpreter.jobs, output };
}

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, ...question } = JSON.parse(line);
  try {
    process.stdout.write(JSON.stringify({ id, ...(await answer(question)) }) + "\n");
  } catch (error) {
    process.stdout.write(JSON.stringify({ id, error: String(error.message ?? error) }) + "\n");
  }
});
