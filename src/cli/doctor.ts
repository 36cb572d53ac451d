/** @file `solvay doctor`: what this machine has of what Solvay needs. */
import { constants } from "node:fs";
import { access, statfs } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { type AdapterFacts, describeAdapter, missingLimits } from "../backend/webgpu/adapter.ts";
import { listAdapters } from "../backend/webgpu/dawn.ts";
import { describePrecision } from "../backend/webgpu/paths.ts";
import { tryAdapter } from "../backend/webgpu/self-test.ts";
import { vulkanLoaderProblem } from "../backend/webgpu/vulkan-loader.ts";
import { DeviceError } from "../errors.ts";
import { hubCacheDir, resolveHubModel } from "../hub/cache.ts";
import { ARTIFACT_BASE, ARTIFACT_NAME } from "../repl/session.ts";
import type { CliContext } from "../terminal/context.ts";
import { byteCount, gigabytes } from "../terminal/format.ts";
import { SOLVAY_VERSION } from "../version.ts";

/** One finding. "note" is worth knowing; "problem" keeps the demo model from running. */
interface Finding {
  readonly topic: string;
  readonly state: "ok" | "note" | "problem";
  readonly text: string;
  /** Of a graphics adapter, for programs. */
  readonly adapter?: AdapterFacts;
}

const DEMO_INDEX = fileURLToPath(new URL("../../models/demo/model_index.json", import.meta.url));

export function addDoctor(program: Command, context: CliContext): void {
  program
    .command("doctor")
    .description("show what this machine has of what Solvay needs")
    .option("--adapter <name>", "part of a graphics adapter's name: try its kernels even if it is a software one")
    .option("--json", "one JSON document")
    .action(async (options: { json?: boolean; adapter?: string }) => {
      const findings = await examine(context, options.adapter);
      if (options.json) context.stdout.write(`${JSON.stringify(findings)}\n`);
      else for (const { topic, state, text } of findings) context.stdout.write(`${state.padEnd(8)}${topic}: ${text}\n`);
      const bad = findings.filter(({ state }) => state === "problem");
      if (bad.length === 0) return;
      const problem = `${bad.length} found: ${bad.map(({ topic }) => topic).join(", ")}`;
      throw new DeviceError({ code: "E_DOCTOR", problem, next: "follow the lines marked problem" });
    });
}

async function examine(context: CliContext, adapter: string | undefined): Promise<Finding[]> {
  const hub = hubCacheDir(context.env);
  return [
    nodeFinding(),
    { topic: "solvay", state: "ok", text: SOLVAY_VERSION },
    await backendFinding(),
    ...(await cardFindings(adapter)),
    { topic: "cpu", state: "ok", text: `${os.availableParallelism()} x ${os.cpus()[0]?.model.trim() ?? "unknown"}` },
    memoryFinding(),
    await diskFinding("disk here", context.cwd),
    await diskFinding("disk of the cache", hub),
    { topic: "hugging face cache", state: "ok", text: hub },
    await baseFinding(context.env),
    await artifactFinding(context.cwd),
    await demoFinding(),
  ];
}

function nodeFinding(): Finding {
  const major = Number(process.versions.node.split(".")[0]);
  return { topic: "node", state: major >= 24 ? "ok" : "note", text: `${process.version} at ${process.execPath}` };
}

async function backendFinding(): Promise<Finding> {
  try {
    await import("onnxruntime-node");
    return { topic: "backends", state: "ok", text: "cpu (onnxruntime-node), reference" };
  } catch (error) {
    const why = error instanceof Error ? error.message.split("\n")[0] : String(error);
    const text = `only reference (slow): onnxruntime-node does not load (${why}); install again with npm ci`;
    return { topic: "backends", state: "problem", text };
  }
}

/** Features that faster kernels use: the second by itself (the same bits), the others with --precision fp16. */
const FASTER_PATHS = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"];

/** Each graphics adapter with what it offers or lacks. */
async function cardFindings(asked: string | undefined): Promise<readonly Finding[]> {
  const topic = "graphics";
  try {
    const adapters = await listAdapters();
    if (adapters.length === 0) {
      const loader = vulkanLoaderProblem();
      const text = `${loader ?? "no adapter was found"}: computing on the CPU; for a card, install its driver (on Linux with Vulkan)`;
      return [{ topic, state: "note", text }];
    }
    const findings = adapterFindings(adapters);
    // Without a name, software adapters aren't worth the seconds.
    const tried = asked !== undefined || adapters.some(({ software }) => !software);
    return tried ? [...findings, await kernelFinding(asked)] : findings;
  } catch (error) {
    const text = error instanceof DeviceError ? `${error.problem}; ${error.next}` : String(error);
    return [{ topic, state: "note", text }];
  }
}

/** What each adapter is good for, and what to do where none is a card. Pure. */
export function adapterFindings(adapters: readonly AdapterFacts[]): readonly Finding[] {
  const topic = "graphics";
  const cards = adapters.filter((adapter) => !adapter.software && missingLimits(adapter).length === 0);
  const findings = adapters.map((adapter): Finding => {
    const missing = missingLimits(adapter);
    const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
    const use = adapter === cards[0] ? "used by --backend auto" : "only when named with --adapter";
    const offers = FASTER_PATHS.filter((feature) => adapter.features.includes(feature)).join(", ");
    const lacks = FASTER_PATHS.filter((feature) => !adapter.features.includes(feature)).join(", ");
    const features = [offers && `offers ${offers}`, lacks && `lacks ${lacks}`].filter(Boolean).join(", ");
    const limits = `buffers to ${byteCount(maxBufferSize)}, bindings to ${byteCount(maxStorageBufferBindingSize)}`;
    const text =
      missing.length > 0
        ? `${describeAdapter(adapter)}: too small: ${missing.join(", ")}; update the driver`
        : `${describeAdapter(adapter)}: ${use}; ${limits}; ${features}`;
    return { topic, state: missing.length > 0 || adapter.software ? "note" : "ok", text, adapter };
  });
  if (cards.length > 0) return findings;
  const text =
    "none of these is a graphics card that can be used: computing on the CPU; if there is a card, install its driver";
  return [...findings, { topic, state: "note", text }];
}

/** The kernels that an adapter may compute with, each tried on it (self-test.ts). */
async function kernelFinding(asked: string | undefined): Promise<Finding> {
  const topic = "graphics kernels";
  try {
    const { adapter, paths, notes } = await tryAdapter(asked);
    const faster = [...(paths.lanes ? ["subgroups"] : []), `--precision fp16 computes in ${describePrecision(paths)}`];
    const text = [`${adapter.device} passes the self-test: ${faster.join("; ")}`, ...notes].join("; ");
    return { topic, state: notes.length > 0 ? "note" : "ok", text };
  } catch (error) {
    return {
      topic,
      state: "note",
      text: error instanceof DeviceError ? `${error.problem}; ${error.next}` : String(error),
    };
  }
}

function memoryFinding(): Finding {
  const total = os.totalmem();
  const text = `${gigabytes(total)}, ${gigabytes(os.freemem())} free`;
  const enough = total >= 15e9;
  return { topic: "ram", state: enough ? "ok" : "note", text: enough ? text : `${text}; full SDXL wants 16 GB` };
}

/** Free space where `folder` is, or will be once it is made. */
async function diskFinding(topic: string, folder: string): Promise<Finding> {
  for (let at = folder; ; at = path.dirname(at)) {
    const space = await statfs(at).catch(() => undefined);
    if (space) return { topic, state: "ok", text: `${byteCount(space.bavail * space.bsize)} free at ${folder}` };
    if (at === path.dirname(at)) return { topic, state: "note", text: `unknown at ${folder}` };
  }
}

async function baseFinding(env: CliContext["env"]): Promise<Finding> {
  const topic = "sdxl base";
  const snapshot = await resolveHubModel(ARTIFACT_BASE, { env });
  if (snapshot !== undefined) return { topic, state: "ok", text: snapshot };
  return { topic, state: "note", text: `not in the cache; fetch it with: solvay pull ${ARTIFACT_BASE}` };
}

async function artifactFinding(cwd: string): Promise<Finding> {
  const there = await readable(path.join(cwd, ARTIFACT_NAME));
  return { topic: "artifact", state: "ok", text: there ? `${ARTIFACT_NAME} is here` : `no ${ARTIFACT_NAME} here` };
}

async function demoFinding(): Promise<Finding> {
  const there = await readable(DEMO_INDEX);
  const text = there ? "in place" : "models/demo is missing; restore the project's files";
  return { topic: "demo model", state: there ? "ok" : "problem", text };
}

async function readable(file: string): Promise<boolean> {
  return await access(file, constants.R_OK).then(
    () => true,
    () => false,
  );
}
