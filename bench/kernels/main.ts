/**
 * @file What real compilers make of the WebGPU kernels, without a card: registers, spills, workgroup memory, instructions of the
 * hot loop. Usage: node bench/kernels/main.ts radv|cuda [--tools DIR] [--only PATTERN] [--json FILE]. See bench/README.md.
 */
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { MatrixShape } from "../../src/backend/webgpu/kernels/gemm-matrix-tiles.ts";
import { type CudaKernel, compileByCuda, findTools } from "./cuda.ts";
import type { HotLoop } from "./loops.ts";
import { compileByRadv, radvMissing } from "./radv.ts";
import { kernelsOf } from "./variants.ts";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { tools: { type: "string" }, only: { type: "string" }, json: { type: "string" } },
});

/** GCN 4 and 5, RDNA 2 and 3 (the first with matrices). */
const RADV_CARDS = ["polaris10", "vega10", "navi21", "navi31"];
/** GTX 1060; GTX 1660 and RTX 2060. */
const CUDA_CARDS = [
  { card: "sm_61", architecture: 61, tensor: false },
  { card: "sm_75", architecture: 75, tensor: true },
] as const;
const CUDA_WORKGROUP_BYTES = 49152;
const CUDA_MATRIX: MatrixShape = { m: 16, n: 16, k: 16, lanes: 32, tiles: ["64x64", "128x128"] };

interface Line {
  readonly name: string;
  readonly registers: number;
  readonly hot?: HotLoop;
  readonly error?: string;
}

/** Share of the products among all instructions that a round issues. */
function productShare({ hot }: Line): string {
  const mix = hot?.round ?? hot?.inner;
  if (!mix) return "";
  const total = Object.values(mix).reduce((sum, count) => sum + count, 0);
  return `${Math.round((100 * ((mix.fma ?? 0) + (mix.matrix ?? 0))) / total)} %`;
}

function show(card: string, line: Line, spilled: number, rest: string): void {
  const spills = spilled > 0 ? `${spilled} spilled` : "";
  console.log(
    [
      card,
      line.name.padEnd(34),
      `${line.registers} registers`,
      rest,
      productShare(line),
      spills,
      line.error ?? "",
    ].join("  "),
  );
}

/** One line a kernel; of the hot loop what a round issues. */
async function save(head: object, reports: readonly { card: string; device?: object; kernels: readonly Line[] }[]) {
  if (options.json === undefined) return;
  const cards = reports.map(({ kernels, ...card }) => {
    const lines = kernels.map(({ hot, ...kernel }) => {
      const round = hot?.round ?? hot?.inner;
      const { key: _, ...plain } = { key: "", ...kernel };
      return `   ${JSON.stringify({ ...plain, ...(round ? { round } : {}), ...(hot?.seldom ? { seldom: hot.seldom } : {}) })}`;
    });
    return `  {"card": ${JSON.stringify(card)}, "kernels": [\n${lines.join(",\n")}\n  ]}`;
  });
  const fields = Object.entries(head).map(([name, value]) => ` "${name}": ${JSON.stringify(value)},\n`);
  await writeFile(options.json, `{\n${fields.join("")} "reports": [\n${cards.join(",\n")}\n ]\n}\n`);
}

async function radv(): Promise<void> {
  const missing = await radvMissing();
  if (missing !== undefined) {
    console.log(`skipped: ${missing}`);
    return;
  }
  const reports = await compileByRadv(RADV_CARDS, options.only === undefined ? [] : [options.only]);
  for (const { card, kernels } of reports)
    for (const kernel of kernels) show(card, kernel, kernel.spilled, `${kernel.subgroupsPerSimd} subgroups a SIMD`);
  await save({ command: "node bench/kernels/main.ts radv" }, reports);
}

async function cuda(): Promise<void> {
  if (options.tools === undefined) {
    console.log("skipped: --tools DIR names no folder with libnvrtc, ptxas and nvdisasm (bench/README.md)");
    return;
  }
  const tools = findTools(options.tools);
  const only = new RegExp(options.only ?? "");
  const reports: { card: string; kernels: CudaKernel[] }[] = [];
  for (const { card, architecture, tensor } of CUDA_CARDS) {
    const offers = {
      workgroupBytes: CUDA_WORKGROUP_BYTES,
      halves: tensor,
      lanes: 32,
      ...(tensor ? { matrix: CUDA_MATRIX } : {}),
    };
    const wanted = [...kernelsOf(offers)].filter(({ name }) => only.test(name));
    const kernels: CudaKernel[] = [];
    for await (const kernel of compileByCuda(tools, architecture, wanted, CUDA_MATRIX)) {
      kernels.push(kernel);
      show(card, kernel, kernel.spilledBytes, `${kernel.workgroupBytes} bytes shared`);
    }
    reports.push({ card, kernels });
  }
  await save(
    { command: "node bench/kernels/main.ts cuda --tools DIR", compilers: "nvrtc and ptxas of CUDA 12.9" },
    reports,
  );
}

if (positionals[0] === "radv") await radv();
else if (positionals[0] === "cuda") await cuda();
else {
  console.error("Usage: node bench/kernels/main.ts radv|cuda [--tools DIR] [--only PATTERN] [--json FILE]");
  process.exitCode = 2;
}
