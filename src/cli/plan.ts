/** @file `solvay plan`: what would lie where and move when, before anything runs; for this machine or for a described one. */
import { type Command, Option } from "commander";
import { DESCRIBED_MACHINES } from "../plan/machine.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import {
  addModelOptions,
  addSizeOptions,
  budgetsOf,
  type ModelOptions,
  type SizeOptions,
} from "../terminal/options.ts";
import { planText } from "../terminal/plan-text.ts";
import { Progress } from "../terminal/progress.ts";

interface PlanOptions extends ModelOptions, SizeOptions {
  readonly as?: string;
  readonly json?: boolean;
}

export function addPlan(program: Command, context: CliContext): void {
  addSizeOptions(
    addModelOptions(program.command("plan").description("print what an image would take, and why, without making it")),
  )
    .addOption(new Option("--as <machine>", "plan for a described machine").choices([...DESCRIBED_MACHINES]))
    .option("--json", "one JSON document")
    .action((options: PlanOptions) =>
      interruptible(context, async (signal) => {
        const { model, artifact, store, adapter, precision, compat, steps, guidance, width, height, as } = options;
        const progress = new Progress(context);
        await using engine = await context.openEngine({
          model,
          artifact,
          store,
          // A described machine needs no card here.
          backend: as === undefined ? options.backend : "reference",
          adapter: as === undefined ? adapter : undefined,
          precision: as === undefined ? precision : undefined,
          compat,
          budgets: as === undefined ? budgetsOf(options) : {},
          signal,
          onEvent: (event) => {
            // Its backend is not the one that the plan is about.
            const misleads = event.type === "model" && !event.demo && as !== undefined;
            if (!options.json && !misleads) progress.load(event);
          },
        });
        const job = { steps, guidance, width, height };
        const plan = await engine.plan(job, { budgets: budgetsOf(options), ...(as === undefined ? {} : { as }) });
        progress.clear();
        if (as !== undefined && precision === "fp16") progress.say("Note: described machines are planned for in fp32.");
        context.stdout.write(`${options.json ? JSON.stringify(plan) : planText(plan)}\n`);
      }),
    );
}
