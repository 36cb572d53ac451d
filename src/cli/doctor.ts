/** @file `solvay doctor`: what this machine has of what Solvay needs. */
import type { Command } from "commander";
import { DeviceError } from "../errors.ts";
import { OPEN_FIELDS } from "../job/fields.ts";
import { examineMachine } from "../node/doctor.ts";
import type { CliContext } from "../terminal/context.ts";
import { fieldOption } from "../terminal/options.ts";

interface DoctorOptions {
  readonly adapter?: string;
  readonly json?: boolean;
}

export function addDoctor(program: Command, context: CliContext): void {
  program
    .command("doctor")
    .description("show what this machine has of what Solvay needs")
    .addOption(
      fieldOption(
        OPEN_FIELDS.adapter,
        "part of a graphics adapter's name: try its kernels even if it is a software one",
      ),
    )
    .option("--json", "one JSON document")
    .action((options: DoctorOptions) => doctor(context, options));
}

async function doctor({ cwd, env, stdout }: CliContext, { adapter, json }: DoctorOptions): Promise<void> {
  const findings = await examineMachine({ folder: cwd, env, adapter });
  if (json) stdout.write(`${JSON.stringify(findings)}\n`);
  else for (const { topic, state, text } of findings) stdout.write(`${state.padEnd(8)}${topic}: ${text}\n`);
  const bad = findings.filter(({ state }) => state === "problem");
  if (bad.length === 0) return;
  const problem = `${bad.length} found: ${bad.map(({ topic }) => topic).join(", ")}`;
  throw new DeviceError({ code: "E_DOCTOR", problem, next: "follow the lines marked problem" });
}
