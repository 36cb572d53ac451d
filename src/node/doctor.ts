/** @file What this machine has of what Solvay needs, as data: findings that a face prints and a server can answer with. */
import { constants } from "node:fs";
import { access, statfs } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { type AdapterFacts, describeAdapter, isSameCard, missingLimits } from "../backend/webgpu/adapter/adapter.ts";
import { describePrecision } from "../backend/webgpu/lower/paths.ts";
import { tryAdapter } from "../backend/webgpu/run/self-test.ts";
import { DeviceError } from "../errors.ts";
import { byteCount, gigabytes } from "../ledger/byte-text.ts";
import { ARTIFACT_BASE, ARTIFACT_NAME } from "../library/published-artifact.ts";
import { SOLVAY_VERSION } from "../version.ts";
import { noneBecause } from "./gpu/backends.ts";
import { listGraphics, openDawn } from "./gpu/dawn.ts";
import { type Environment, hubCacheDir, resolveHubModel } from "./hub/cache.ts";
import { DEMO_MODEL } from "./library-host.ts";
import { loadOnnxRuntime } from "./onnx.ts";

/** One finding. "note" is worth knowing; "problem" keeps the demo model from running. */
export interface Finding {
  readonly topic: string;
  readonly state: "ok" | "note" | "problem";
  readonly text: string;
  /** Of a graphics adapter, for programs. */
  readonly adapter?: AdapterFacts;
}

export interface ExamineOptions {
  /** Whose disk, and where the published artifact may lie. */
  readonly folder: string;
  readonly env: Environment;
  /** Part of a graphics adapter's name: its kernels are tried even if it is a software one. */
  readonly adapter?: string;
}

/** Looks at everything in turn. What can't be had is a finding: nothing is rejected with. */
export async function examineMachine({ folder, env, adapter }: ExamineOptions): Promise<readonly Finding[]> {
  const hub = hubCacheDir(env);
  return [
    nodeFinding(),
    { topic: "solvay", state: "ok", text: SOLVAY_VERSION },
    await backendFinding(),
    ...(await graphicsFindings(adapter)),
    { topic: "cpu", state: "ok", text: `${os.availableParallelism()} x ${os.cpus()[0]?.model.trim() ?? "unknown"}` },
    memoryFinding(),
    await diskFinding("disk here", folder),
    await diskFinding("disk of the cache", hub),
    { topic: "hugging face cache", state: "ok", text: hub },
    await baseFinding(env),
    await artifactFinding(folder),
    await demoFinding(),
  ];
}

function nodeFinding(): Finding {
  return { topic: "node", state: "ok", text: `${process.version} at ${process.execPath}` };
}

async function backendFinding(): Promise<Finding> {
  try {
    await loadOnnxRuntime();
    return { topic: "backends", state: "ok", text: "cpu (onnxruntime-node), reference" };
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    return { topic: "backends", state: "problem", text: `only reference (slow): ${error.problem}; ${error.next}` };
  }
}

/** Features that faster kernels use: the second by itself (the same bits), the others with --precision fp16. */
const FASTER_PATHS = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix"];

/** Each graphics adapter with what it offers or lacks. */
async function graphicsFindings(asked: string | undefined): Promise<readonly Finding[]> {
  const topic = "graphics";
  try {
    const listings = await listGraphics();
    const adapters = listings.flatMap((listing) => listing.adapters.map(({ facts }) => facts));
    if (adapters.length === 0) {
      const text = `${noneBecause(listings) ?? "no adapter was found"}: computing on the CPU; for a card, install its driver (on Linux with Vulkan)`;
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
  const gpus = adapters.filter((adapter) => !adapter.software && missingLimits(adapter).length === 0);
  const findings = adapters.map((adapter): Finding => {
    const missing = missingLimits(adapter);
    const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
    const use = useOf(adapter, gpus[0]);
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
  if (gpus.length > 0) return findings;
  const text =
    "none of these is a graphics card that can be used: computing on the CPU; if there is a card, install its driver";
  return [...findings, { topic, state: "note", text }];
}

function useOf(adapter: AdapterFacts, first: AdapterFacts | undefined): string {
  if (adapter === first) return "used by --backend auto";
  return first && isSameCard(adapter, first)
    ? `the same card, used where ${first.backend} gives no device`
    : "only when named with --adapter";
}

/** The kernels that an adapter may compute with, each tried on it (self-test.ts). */
async function kernelFinding(asked: string | undefined): Promise<Finding> {
  const topic = "graphics kernels";
  try {
    const opened = await openDawn(asked);
    const { paths, notes } = await tryAdapter(opened);
    const faster = [...(paths.lanes ? ["subgroups"] : []), `--precision fp16 computes in ${describePrecision(paths)}`];
    const text = [`${opened.facts.device} passes the self-test: ${faster.join("; ")}`, ...notes].join("; ");
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

async function baseFinding(env: Environment): Promise<Finding> {
  const topic = "sdxl base";
  const snapshot = await resolveHubModel(ARTIFACT_BASE, { env });
  if (snapshot !== undefined) return { topic, state: "ok", text: snapshot };
  return { topic, state: "note", text: `not in the cache; fetch it with: solvay pull ${ARTIFACT_BASE}` };
}

async function artifactFinding(folder: string): Promise<Finding> {
  const there = await readable(path.join(folder, ARTIFACT_NAME));
  return { topic: "artifact", state: "ok", text: there ? `${ARTIFACT_NAME} is here` : `no ${ARTIFACT_NAME} here` };
}

async function demoFinding(): Promise<Finding> {
  const there = await readable(path.join(DEMO_MODEL, "model_index.json"));
  const text = there ? "in place" : "models/demo is missing; restore the project's files";
  return { topic: "demo model", state: there ? "ok" : "problem", text };
}

async function readable(file: string): Promise<boolean> {
  return await access(file, constants.R_OK).then(
    () => true,
    () => false,
  );
}
