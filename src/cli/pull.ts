/** @file `solvay pull HUB-ID`: an SDXL model from the Hugging Face hub into its cache on this machine. */

import { type Command, Option } from "commander";
import { printable } from "../errors.ts";
import { byteCount } from "../ledger/byte-text.ts";
import { refinerFamilyAt } from "../library/model-files.ts";
import { pullModel } from "../library/pull.ts";
import type { PullDone, PullEvent } from "../library/pull-events.ts";
import type { Variant } from "../source/listing.ts";
import { type CliContext, interruptible, libraryOf } from "../terminal/context.ts";
import { clock } from "../terminal/format.ts";
import { StatusLine, Throttle } from "../terminal/status-line.ts";

interface PullCommandOptions {
  readonly revision?: string;
  readonly variant: Variant;
  readonly json?: boolean;
}

export function addPull(program: Command, context: CliContext): void {
  program
    .command("pull")
    .description("fetch an SDXL model from the Hugging Face hub into the local cache; an interrupted pull goes on")
    .argument("<hub-id>", "such as stabilityai/stable-diffusion-xl-base-1.0")
    .option("--revision <name>", "branch, tag or commit (default: main)")
    .addOption(
      new Option("--variant <name>", "weights: fp16, none (the plain files), or auto (fp16 where there is one)")
        .choices(["auto", "fp16", "none"])
        .default("auto"),
    )
    .option("--json", "events as JSON lines on stdout")
    .addHelpText(
      "after",
      "\nEnvironment: HF_HOME or HF_HUB_CACHE (where to), HF_TOKEN (private and gated models), HF_ENDPOINT (a mirror), HF_HUB_OFFLINE",
    )
    .action((id: string, options: PullCommandOptions) => pull(context, id, options));
}

async function pull(context: CliContext, id: string, { revision, variant, json }: PullCommandOptions): Promise<void> {
  const progress = new PullProgress(context);
  const thin = new Throttle(JSON_INTERVAL_MS);
  const print = (event: PullEvent) => {
    if (event.type !== "progress" || thin.passes()) context.stdout.write(`${JSON.stringify(event)}\n`);
  };
  const onEvent = json ? print : (event: PullEvent) => progress.show(event);
  await interruptible(context, async (signal) => {
    try {
      const done = await pullModel(libraryOf(context), id, { revision, variant, signal, onEvent });
      progress.clear();
      if (json) return;
      context.stdout.write(`${printable(done.path)}\n`);
      const isRefiner = (await refinerFamilyAt(libraryOf(context), done.path, signal)) !== undefined;
      progress.say(closing(done, isRefiner ? "refiner" : "model", revision));
    } catch (error) {
      progress.clear();
      if (signal.aborted && !json) progress.say("What has come is kept: the same command goes on from there.");
      throw error;
    } finally {
      progress.clear();
    }
  });
}

function closing(
  { model, path, files, totalBytes, downloadedBytes, online }: PullDone,
  option: "model" | "refiner",
  revision?: string,
): string {
  const fetched = downloadedBytes > 0 ? `fetched ${byteCount(downloadedBytes)}` : "nothing to fetch";
  const whole = `${files} files, ${byteCount(totalBytes)}`;
  const name = revision === undefined || revision === "main" ? model : JSON.stringify(path);
  return `Complete: ${whole} (${online ? fetched : "offline, from the cache"}). Use it: solvay generate "PROMPT" --${option} ${name}`;
}

const JSON_INTERVAL_MS = 500;
const LINE_INTERVAL_MS = 100;
/** The rate shown is that of the last seconds. */
const RATE_WINDOW_MS = 5_000;

/** For people; elsewhere than on a terminal only what needs attention. */
class PullProgress extends StatusLine {
  readonly #thin = new Throttle(LINE_INTERVAL_MS);
  readonly #rate = new Rate(RATE_WINDOW_MS);

  show(event: PullEvent): void {
    switch (event.type) {
      case "note":
        this.say(event.text);
        break;
      case "wait":
        this.say(`Another pull of this model is running (${event.owner}): waiting for it ...`);
        break;
      case "plan": {
        const whole = `${event.files} files, ${byteCount(event.totalBytes)}`;
        const missing = event.missingBytes > 0 ? `, ${byteCount(event.missingBytes)} to fetch` : "";
        if (this.watched) this.say(`${event.model} at ${event.commit.slice(0, 12)}: ${whole}${missing}`);
        break;
      }
      case "file":
        if (event.haveBytes > 0) {
          this.say(`Going on with ${event.file} after ${byteCount(event.haveBytes)} of ${byteCount(event.fileBytes)}`);
        }
        break;
      case "retry":
        this.say(
          `${event.file}: ${event.problem}. Trying again${event.waitMs > 0 ? ` in ${clock(event.waitMs)}` : ""} ...`,
        );
        break;
      case "progress":
        this.#progress(event);
    }
  }

  #progress({ file, doneBytes, totalBytes }: Extract<PullEvent, { type: "progress" }>): void {
    const perSecond = this.#rate.add(doneBytes);
    if (!this.watched || !this.#thin.passes()) return;
    const percent = Math.floor((100 * doneBytes) / totalBytes);
    const eta = perSecond > 0 ? clock((1000 * (totalBytes - doneBytes)) / perSecond) : "-:--";
    const amount = `${byteCount(doneBytes)} of ${byteCount(totalBytes)}`;
    this.rewrite(`${String(percent).padStart(3)}%  ${amount}  ${byteCount(perSecond)}/s  ETA ${eta}  ${file}`);
  }

  /** A lasting line; what comes from the network is made harmless. */
  override say(line: string): void {
    super.say(printable(line));
  }
}

/** Bytes a second over a sliding window. */
class Rate {
  readonly #windowMs: number;
  #marks: { readonly atMs: number; readonly bytes: number }[] = [];

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** `bytes` so far; less than before starts anew. Returns the rate, 0 while unknown. */
  add(bytes: number): number {
    const atMs = performance.now();
    const last = this.#marks.at(-1);
    if (last && bytes < last.bytes) this.#marks = [];
    if (!last || atMs - last.atMs >= LINE_INTERVAL_MS) this.#marks.push({ atMs, bytes });
    while (this.#marks.length > 2 && atMs - this.#marks[0]!.atMs > this.#windowMs) this.#marks.shift();
    const first = this.#marks[0];
    if (!first || atMs - first.atMs < LINE_INTERVAL_MS) return 0;
    return (1000 * (bytes - first.bytes)) / (atMs - first.atMs);
  }
}
