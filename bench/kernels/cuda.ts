/**
 * @file Kernels through NVIDIA's compilers, without a card: Solvay's WGSL is regular enough to become CUDA C++ by a few rules
 * (wgsl.cuh has the types). nvrtc makes PTX of it, ptxas machine code and its counts, nvdisasm the text. The driver's Vulkan
 * compiler has another front end and the same back end, so this is near what a card runs, not the same.
 */
import { execFile, spawn } from "node:child_process";
import { globSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { matrixDeclarations } from "../../src/backend/webgpu/kernels/gemm-matrix.ts";
import { MATRIX_STRIDE, type MatrixShape } from "../../src/backend/webgpu/kernels/gemm-matrix-tiles.ts";
import type { Kernel } from "../../src/backend/webgpu/kernels/kernel.ts";
import { type HotLoop, hotLoop, type Instruction, type InstructionClass } from "./loops.ts";
import type { NamedKernel } from "./variants.ts";

const run = promisify(execFile);

export interface CudaKernel {
  readonly name: string;
  readonly key: string;
  readonly registers: number;
  readonly spilledBytes: number;
  readonly workgroupBytes: number;
  /** Widths of the hot loop's accesses, from the names: { "LDS.128": 16 }. */
  readonly memory: Readonly<Record<string, number>>;
  readonly hot?: HotLoop;
}

interface CudaTools {
  readonly ptxas: string;
  readonly nvdisasm: string;
  readonly nvrtc: string;
  readonly includes: readonly string[];
}

/** Finds the compilers under a folder of unpacked packages; throws with the name of what is missing. */
export function findTools(folder: string): CudaTools {
  const found = (pattern: string) => {
    const [path] = globSync(join(folder, "**", pattern)).sort();
    if (path === undefined) throw new Error(`no ${pattern} under ${folder}`);
    return path;
  };
  const includes = [join(found("cuda_fp16.h"), ".."), join(found("crt/mma.h"), "..", "..")];
  return { ptxas: found("ptxas"), nvdisasm: found("nvdisasm"), nvrtc: found("libnvrtc.so.1[0-9]"), includes };
}

/** CUDA C++ of a kernel, without the header. Pure. */
function cudaText(kernel: Kernel, matrix?: MatrixShape): string {
  let wgsl = kernel.wgsl();
  if (matrix) wgsl = wgsl.replace(matrixDeclarations(matrix), "MATRICES");
  const fields = /struct Params \{ (.*) \}/.exec(wgsl)![1]!;
  const size = /@workgroup_size\((\d+)\)/.exec(wgsl)![1]!;
  const parameters = (list: string) => list.replace(/(\w+): ([\w<>]+)/g, "$2 $1");
  const shared: string[] = [];
  const members: string[] = [];
  const body = wgsl
    .replace(/^(enable|diagnostic).*\n/gm, "")
    .replace(/struct Params .*\n/, "")
    .replace(/^@group.*var<storage, read_write> (\w+): array<(.*)>;\n/gm, (_, name: string, type: string) => {
      members.push(`${type} *${name};`);
      return "";
    })
    .replace(/^@group.*var<uniform>.*\n/m, "")
    .replace(/^var<workgroup> (\w+): array<(.*), (\d+)>;\n/gm, (_, name: string, type: string, count: string) => {
      shared.push(`__shared__ ${type === "f16" || type === "f32" ? "alignas(16) " : ""}${type} ${name}[${count}];`);
      return "";
    })
    .replace("MATRICES", "")
    .replace(/^@compute.*\nfn main\(.*\) \{/m, "void compute(u32 t, vec3u workgroup) const {")
    .replace(
      /fn (\w+)\((.*?)\) -> ([\w<>]+) \{/g,
      (_, name: string, list: string, type: string) => `${type} ${name}(${parameters(list)}) const {`,
    )
    .replace(/\blet /g, "const auto ")
    .replace(/\bvar (\w+): ([\w<>]+);/g, "$2 $1 = $2();")
    .replace(/\bvar /g, "auto ")
    .replace(/(?<![\w.])(\d+\.\d+(e-?\d+)?)(?![\w.])/g, "$1f");
  return `${shared.join("\n")}
${matrix ? cudaMatrices(matrix) : ""}
struct Params { ${parameters(fields).replaceAll(",", ";")}; };
struct Kernel {
  Params P;
  ${members.join(" ")}
${body}
};
extern "C" __global__ void __launch_bounds__(${size}) kernel(const Kernel k) {
  k.compute(threadIdx.x, {blockIdx.x, blockIdx.y, blockIdx.z});
}
`;
}

function cudaMatrices({ m, n, k }: MatrixShape): string {
  return `
using namespace nvcuda;
typedef wmma::fragment<wmma::matrix_a, ${m}, ${n}, ${k}, f16, wmma::row_major> Left;
typedef wmma::fragment<wmma::matrix_b, ${m}, ${n}, ${k}, f16, wmma::col_major> Right;
struct Sums : wmma::fragment<wmma::accumulator, ${m}, ${n}, ${k}, f32> { Sums() { wmma::fill_fragment(*this, 0.0f); } };
inline Left loadLeft(u32 offset) { Left left; wmma::load_matrix_sync(left, tileA + offset, ${MATRIX_STRIDE}); return left; }
inline Right loadRight(u32 offset) { Right right; wmma::load_matrix_sync(right, tileB + offset, ${MATRIX_STRIDE}); return right; }
inline Sums multiplyAdd(Left left, Right right, Sums sums) { wmma::mma_sync(sums, left, right, sums); return sums; }
inline void storeSums(u32 offset, Sums sums) { wmma::store_matrix_sync(staging + offset, sums, ${n}, wmma::mem_row_major); }`;
}

/** `architecture`: 61, 75 ... Yields each kernel as it is compiled. */
export async function* compileByCuda(
  tools: CudaTools,
  architecture: number,
  kernels: Iterable<NamedKernel>,
  matrix?: MatrixShape,
): AsyncGenerator<CudaKernel> {
  const folder = await mkdtemp(join(tmpdir(), "solvay-cuda-"));
  try {
    const header = await readFile(new URL("wgsl.cuh", import.meta.url), "utf8");
    const nvrtc = join(folder, "nvrtc");
    await run("cc", ["-O1", "-o", nvrtc, fileURLToPath(new URL("nvrtc.c", import.meta.url)), "-ldl"]);
    for (const { name, kernel, roundFma } of kernels) {
      const text = `${header}\n${cudaText(kernel, kernel.key.startsWith("matrix") ? matrix : undefined)}`;
      const options = [
        `--gpu-architecture=compute_${architecture}`,
        "--std=c++17",
        "--device-as-default-execution-space",
        "--use_fast_math",
        ...tools.includes.map((path) => `--include-path=${path}`),
      ];
      const ptx = join(folder, "kernel.ptx");
      await writeFile(ptx, await compile(nvrtc, [tools.nvrtc, ...options], text, name));
      const cubin = join(folder, "kernel.cubin");
      const { stderr } = await run(tools.ptxas, [`-arch=sm_${architecture}`, "-v", "-o", cubin, ptx]);
      const { stdout } = await run(tools.nvdisasm, ["-c", cubin], { maxBuffer: 1 << 26 });
      const number = (pattern: RegExp) => Number(pattern.exec(stderr)?.[1] ?? 0);
      const code = instructionsOf(stdout);
      const hot = hotLoop(code, classOf, roundFma, name.includes("fp16") ? 2 : 1);
      yield {
        name,
        key: kernel.key,
        registers: number(/Used (\d+) registers/),
        spilledBytes: number(/(\d+) bytes spill stores/),
        workgroupBytes: number(/(\d+) bytes smem/),
        memory: memoryNames(code),
        ...(hot ? { hot } : {}),
      };
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function compile(program: string, options: readonly string[], text: string, name: string): Promise<string> {
  const child = spawn(program, options, { stdio: ["pipe", "pipe", "pipe"] });
  const out: Buffer[] = [];
  const errors: Buffer[] = [];
  child.stdout.on("data", (part: Buffer) => out.push(part));
  child.stderr.on("data", (part: Buffer) => errors.push(part));
  const ended = new Promise<number | null>((resolve, reject) => child.on("close", resolve).on("error", reject));
  child.stdin.end(text);
  if ((await ended) !== 0) throw new Error(`${name}: ${Buffer.concat(errors).toString().slice(0, 2000)}`);
  return Buffer.concat(out).toString();
}

function instructionsOf(text: string): Instruction[] {
  const code: Instruction[] = [];
  let labels: string[] = [];
  for (const line of text.split("\n")) {
    const label = /^\s*(\.L_\w+):/.exec(line)?.[1];
    if (label) labels.push(label);
    const [, name, rest] =
      /^\s+(?:\/\*[0-9a-f]+\*\/)?\s*(?:\{\s*)?(?:@!?U?P\w+\s+)?([A-Z][\w.]+)([^;}]*)[;}]/.exec(line) ?? [];
    if (name === undefined) continue;
    const target = /^(BRA|BRK|SYNC)/.test(name) ? /(?:`\(|TARGETS )(\.L_\w+)/.exec(rest!)?.[1] : undefined;
    code.push({ name, labels, ...(target ? { target } : {}) });
    labels = [];
  }
  return code;
}

function memoryNames(code: readonly Instruction[]): Record<string, number> {
  const names: Record<string, number> = {};
  for (const { name } of code) {
    const access = /^(LDS|STS|LDG|STG|LDL|STL)\b(?:.*?\.(32|64|128))?/.exec(name.replace(/\.(E|SYS|U)\b/g, ""));
    if (!access) continue;
    const key = `${access[1]}.${access[2] ?? 32}`;
    names[key] = (names[key] ?? 0) + 1;
  }
  return names;
}

function classOf(name: string): InstructionClass {
  if (/^(HMMA)/.test(name)) return "matrix";
  if (/^(FFMA|HFMA2)/.test(name)) return "fma";
  if (/^(LDS|LDSM)/.test(name)) return "sharedRead";
  if (/^(STS)/.test(name)) return "sharedWrite";
  if (/^(LDG|LD\b|LD\.)/.test(name)) return "globalRead";
  if (/^(STG|ST\b|ST\.)/.test(name)) return "globalWrite";
  if (/^(LDL|STL)/.test(name)) return "local";
  if (/^(BRA|EXIT|BAR|BSSY|BSYNC|SSY|SYNC|RET|CALL|BRK|PBK|WARPSYNC|NOP)/.test(name)) return "control";
  if (/^(U[A-Z]|LDC|R2UR|S2U)/.test(name)) return "scalar";
  if (/^(DEPBAR)/.test(name)) return "wait";
  return "arithmetic";
}
