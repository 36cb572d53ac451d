/** @file `solvay plan`: what would lie where and move when, before anything runs; for this machine or for a described one. */
import { type Command, Option } from "commander";
import { DESCRIBED_MACHINES } from "../plan/machine.ts";
import { type CliContext, interruptible } from "../terminal/context.ts";
import {
  addOpenOptions,
  addPlanOptions,
  countOption,
  jobSettingsOf,
  type OptionValues,
  openRequestOf,
  planJobOf,
} from "../terminal/options.ts";
import { planText } from "../terminal/plan-text.ts";
import { Progress } from "../terminal/progress.ts";

interface PlanFlags extends OptionValues {
  readonly count: number;
  readonly as?: string;
  readonly json?: boolean;
}

export function addPlan(program: Command, context: CliContext): void {
  addPlanOptions(
    addOpenOptions(program.command("plan").description("print what an image would take, and why, without making it")),
  )
    .argument("[prompt]", "what it takes depends on: in a1111 syntax its length, AND and what changes by step")
    .addOption(
      new Option("--as <machine>", "plan for a described machine").choices(DESCRIBED_MACHINES).helpGroup("Compute:"),
    )
    .addOption(countOption("how many images are wanted: some may share each pass over the weights"))
    .optionsGroup("Output:")
    .option("--json", "one JSON document")
    .action((prompt: string | undefined, options: PlanFlags) =>
      interruptible(context, async (signal) => {
        const { as, count, json } = options;
        const asked = openRequestOf(options);
        const progress = new Progress(context);
        await using engine = await context.openEngine({
          // A described machine needs no card here, and budgets of its own.
          ...(as === undefined
            ? asked
            : { ...asked, backend: "reference", adapter: undefined, precision: undefined, budgets: undefined }),
          signal,
          onEvent: (event) => {
            // Its backend is not the one that the plan is about.
            const misleads = event.type === "model" && !event.demo && as !== undefined;
            if (!json && !misleads) progress.load(event);
          },
        });
        const plan = await engine.plan(
          { ...planJobOf(jobSettingsOf(options)), prompt },
          { as, budgets: asked.budgets, ...(count > 1 && { count }) },
        );
        progress.clear();
        if (as !== undefined && asked.precision === "fp16")
          progress.say("Note: described machines are planned for in fp32.");
        context.stdout.write(`${json ? JSON.stringify(plan) : planText(plan, count)}\n`);
      }),
    );
}
