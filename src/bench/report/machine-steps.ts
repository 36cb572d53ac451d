/** @file What the machine is, what Solvay finds on it, how fast it computes SDXL's shapes, and how fast PyTorch does. */
import os from "node:os";
import { type BenchShape, benchProblem, SDXL_SHAPES, shrunk } from "../shapes.ts";
import { runChild } from "./child.ts";
import { failureOf } from "./command.ts";
import type { Outcome, Run } from "./step.ts";
import { TORCH_SHAPES } from "./torch-shapes.ts";

/** The driver as its own tools name it; tools that aren't there are left out. */
export async function environment(limitMs: number): Promise<Outcome> {
  const tools = {
    nvidiaSmi: ["nvidia-smi", `--query-gpu=${NVIDIA_FIELDS}`, "--format=csv"],
    vulkaninfo: ["vulkaninfo", "--summary"],
    kernel: ["uname", "-srm"],
  };
  const said: Record<string, string> = {};
  for (const [name, [command = "", ...args]] of Object.entries(tools)) {
    const { stdout, failure } = await runChild({ command, args, limitMs: limitMs / 3 });
    if (failure === undefined) said[name] = stdout.trim();
  }
  const figures = {
    ...said,
    cpu: os.cpus()[0]?.model.trim() ?? "unknown",
    cores: os.availableParallelism(),
    ramBytes: os.totalmem(),
    node: process.version,
  };
  const card = said.nvidiaSmi?.split("\n").at(-1) ?? "no nvidia-smi";
  return { figures, summary: `${card}; ${figures.cores} x ${figures.cpu}` };
}

const NVIDIA_FIELDS =
  "name,driver_version,memory.total,pcie.link.gen.max,pcie.link.width.max,clocks.max.sm,clocks.max.memory";

/** A finding of `solvay doctor --json`, as far as it is looked at. */
interface DoctorFinding {
  readonly topic: string;
  readonly state: string;
  readonly text: string;
}

type Commanded = Pick<Run, "solvay" | "adapterArgs">;

/** Adapters and self-tests. A problem that doctor finds elsewhere (no ONNX Runtime, say) is none of the card's. */
export async function doctor({ solvay, adapterArgs }: Commanded, limitMs: number): Promise<Outcome> {
  const result = await solvay.run(["doctor", "--json", ...adapterArgs], { limitMs });
  const all = parseJson<readonly DoctorFinding[]>(result.stdout);
  if (all === undefined) return { summary: "", error: failureOf(result) ?? "doctor printed no JSON" };
  // The others name folders of this machine.
  const figures = all.filter(({ topic }) => /^(graphics|graphics kernels|cpu|ram|solvay)$/.test(topic));
  const kernels = figures.find(({ topic }) => topic === "graphics kernels");
  const graphics = kernels ?? figures.find(({ topic }) => topic === "graphics");
  const text = graphics?.text ?? "no word of graphics";
  return { figures, summary: text, error: kernels ? undefined : "no kernels were tried" };
}

/** `solvay bench --json`, as far as it is looked at. */
interface BenchDocument {
  readonly adapter?: { readonly device: string };
  readonly shapes: readonly { readonly gflops?: number; readonly gbps?: number; readonly paths?: object }[];
  readonly uploads?: { readonly ringGbps: number };
  readonly overlap?: { readonly hiddenShare: number };
}

/** One shape, each tile and path of it; uploads and overlap beside. */
export async function benchShape(
  { solvay, adapterArgs }: Commanded,
  name: string,
  { shrink, tune }: { readonly shrink?: number; readonly tune: boolean },
  limitMs: number,
): Promise<Outcome> {
  const shrunken = shrink === undefined ? [] : ["--shrink", String(shrink)];
  const args = ["bench", "--json", "--backend", "webgpu", "--only", name, ...(tune ? ["--tune"] : []), ...shrunken];
  const result = await solvay.run([...args, ...adapterArgs], { limitMs });
  const figures = parseJson<BenchDocument>(result.stdout);
  const shape = figures?.shapes[0];
  if (figures === undefined || shape === undefined) {
    return { summary: "", error: failureOf(result) ?? "bench printed no JSON" };
  }
  const { gflops, gbps, paths } = shape;
  const rate = gflops === undefined ? `${gbps?.toFixed(0)} GB/s` : `${gflops.toFixed(1)} GFLOP/s`;
  const uploads = `uploads ${figures.uploads?.ringGbps.toFixed(1)} GB/s, ${figures.overlap?.hiddenShare.toFixed(2)} hidden`;
  return { figures, summary: `${rate}, ${JSON.stringify(paths ?? {})}, ${uploads}`, error: failureOf(result) };
}

/** PyTorch's own kernels at the same shapes, one JSON line each, in the order of value. */
export async function torchShapes(shrink: number, limitMs: number): Promise<Outcome> {
  const shapes = SDXL_SHAPES.map((full) => withOperations(shrunk(full, shrink)));
  const env = { ...process.env, PYTHONUNBUFFERED: "1" };
  const input = JSON.stringify(shapes);
  const result = await runChild({ command: "python3", args: ["-c", TORCH_SHAPES], env, input, limitMs });
  const figures = result.stdout.split("\n").flatMap((line) => {
    const rate = parseJson<{ readonly name?: string; readonly dtype?: string; readonly gflops?: number }>(line);
    return rate === undefined ? [] : [rate];
  });
  const rates = figures
    .filter(({ gflops }) => gflops !== undefined)
    .map(({ name, dtype, gflops = 0 }) => `${name} ${dtype} ${gflops.toFixed(0)}`);
  if (/No module named 'torch'/.test(result.stderrTail) || result.failure?.includes("ENOENT")) {
    return { figures: "not here", summary: "python3 has no torch here" };
  }
  return { figures, summary: `GFLOP/s: ${rates.join("; ")}`, error: failureOf(result) };
}

function withOperations(shape: BenchShape): BenchShape & { readonly operations: number; readonly bytes: number } {
  const { operations, bytes } = benchProblem(shape);
  return { ...shape, operations, bytes };
}

function parseJson<T>(text: string): T | undefined {
  try {
    return JSON.parse(text) as T;
  } catch {
    return undefined;
  }
}
