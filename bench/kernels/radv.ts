/**
 * @file Kernels compiled by a real driver for cards that aren't there: Mesa's RADV on its null device (RADV_FORCE_FAMILY). It
 * tells registers, spills, workgroup memory, how many subgroups a SIMD holds, and its machine code. Nothing runs.
 */
import { execFile, spawn } from "node:child_process";
import { globSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { vulkanLoaderProblem } from "../../src/node/gpu/vulkan-loader.ts";
import { type HotLoop, hotLoop, type Instruction, type InstructionClass } from "./loops.ts";

/** Debian's and others' places of the driver. */
const LIBRARIES = ["/usr/lib/*/libvulkan_radeon.so", "/usr/lib*/libvulkan_radeon.so"];

/** Many times what it takes. */
const CHILD_MS = 300_000;

interface RadvKernel {
  readonly name: string;
  readonly key: string;
  /** Why it didn't compile. */
  readonly error?: string;
  readonly registers: number;
  readonly spilled: number;
  readonly scratchBytes: number;
  readonly workgroupBytes: number;
  readonly subgroupsPerSimd: number;
  readonly instructions: number;
  readonly inverseThroughput: number;
  readonly hot?: HotLoop;
}

interface RadvReport {
  readonly card: string;
  readonly device: Readonly<Record<string, unknown>>;
  readonly kernels: readonly RadvKernel[];
}

/** Why kernels can't be compiled here; undefined where they can. */
export async function radvMissing(): Promise<string | undefined> {
  if (process.platform !== "linux") return "RADV is a driver of Linux";
  if (!LIBRARIES.some((pattern) => globSync(pattern).length > 0))
    return "no libvulkan_radeon; scripts/software-vulkan.sh installs it on Debian";
  const loader = vulkanLoaderProblem();
  if (loader !== undefined) return loader;
  const dawn = await import("webgpu").then(
    () => undefined,
    () => "the package webgpu can't be loaded",
  );
  if (dawn !== undefined) return dawn;
  return await promisify(execFile)("cc", ["--version"]).then(
    () => undefined,
    () => "no C compiler (cc) for the driver's wrapper",
  );
}

/** `card`: polaris10, vega10, navi21, navi31 and so on. `patterns`: of kernels' names; all without. */
export async function compileByRadv(
  cards: readonly string[],
  patterns: readonly string[] = [],
  machineCode = true,
): Promise<RadvReport[]> {
  const folder = await mkdtemp(join(tmpdir(), "solvay-radv-"));
  try {
    const source = fileURLToPath(new URL("radv-null.c", import.meta.url));
    const library = join(folder, "libradv-null.so");
    await promisify(execFile)("cc", ["-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]);
    const driver = join(folder, "radv-null.json");
    const icd = { file_format_version: "1.0.0", ICD: { library_path: library, api_version: "1.3.0" } };
    await writeFile(driver, JSON.stringify(icd));
    return await Promise.all(
      cards.map(async (card) => {
        const log = await childLog(patterns, {
          VK_ICD_FILENAMES: driver,
          VK_DRIVER_FILES: driver,
          RADV_FORCE_FAMILY: card,
          RADV_DEBUG: `nocache,shaderstats${machineCode ? ",asm" : ""}`,
          MESA_SHADER_CACHE_DISABLE: "true",
        });
        return { card, ...parseLog(log) };
      }),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function childLog(patterns: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  const program = fileURLToPath(new URL("radv-child.ts", import.meta.url));
  const child = spawn(process.execPath, [program, ...patterns], {
    stdio: ["ignore", "ignore", "pipe"],
    timeout: CHILD_MS,
    env: { ...process.env, ...env },
  });
  const parts: Buffer[] = [];
  child.stderr.on("data", (part: Buffer) => parts.push(part));
  const code = await new Promise<number | null>((resolve, reject) => child.on("close", resolve).on("error", reject));
  const log = Buffer.concat(parts).toString("latin1");
  if (code !== 0 || !log.includes("@@ end"))
    throw new Error(`compiling for ${env.RADV_FORCE_FAMILY} ended with ${code}: ${log.slice(-500)}`);
  return log;
}

/** Of the child's stderr. Pure. */
export function parseLog(log: string): Omit<RadvReport, "card"> {
  const device = JSON.parse(/^@@ device (.*)$/m.exec(log)?.[1] ?? "{}") as RadvReport["device"];
  const kernels = log
    .split(/^@@ kernel /m)
    .slice(1)
    .map((section): RadvKernel => {
      const { name, key, roundFma } = JSON.parse(section.split("\n", 1)[0]!) as NamedSection;
      const error = /^@@ failed (.*)$/m.exec(section)?.[1];
      const number = (title: string) => Number(new RegExp(`^${title}: (\\d+)`, "m").exec(section)?.[1] ?? Number.NaN);
      const hot = hotLoop(instructionsOf(section), classOf, roundFma, name.includes("fp16") ? 2 : 1);
      return {
        name,
        key,
        ...(error === undefined ? {} : { error: JSON.parse(error) as string }),
        registers: number("VGPRs"),
        spilled: number("Spilled VGPRs"),
        scratchBytes: number("Scratch size"),
        workgroupBytes: number("LDS size"),
        subgroupsPerSimd: number("Subgroups per SIMD"),
        instructions: number("Instructions"),
        inverseThroughput: number("Inverse Throughput"),
        ...(hot ? { hot } : {}),
      };
    });
  return { device, kernels };
}

interface NamedSection {
  readonly name: string;
  readonly key: string;
  readonly roundFma?: number;
}

function instructionsOf(section: string): Instruction[] {
  const code: Instruction[] = [];
  let labels: string[] = [];
  for (const line of section.split("\n")) {
    const label = /^(BB\d+):/.exec(line)?.[1];
    if (label) labels.push(label);
    const [, name, rest] = /^\s+([a-z]\w+)([^;]*);/.exec(line) ?? [];
    if (name === undefined) continue;
    const target = /\b(BB\d+)\b/.exec(rest!)?.[1];
    code.push({ name, labels, ...(target ? { target } : {}) });
    labels = [];
  }
  return code;
}

function classOf(name: string): InstructionClass {
  if (/^v_wmma/.test(name)) return "matrix";
  if (/^v_(dual_)?(fma|mac|fmac|pk_fma|mad)_?(f32|f16|mix|legacy)?/.test(name) && !/mix|_u|_i/.test(name)) return "fma";
  if (/^ds_(read|load)/.test(name)) return "sharedRead";
  if (/^ds_(write|store)/.test(name)) return "sharedWrite";
  if (/^scratch_/.test(name)) return "local";
  if (/^(buffer|global)_load/.test(name)) return "globalRead";
  if (/^(buffer|global)_store/.test(name)) return "globalWrite";
  if (/^v_|^ds_/.test(name)) return "arithmetic";
  if (/^s_(waitcnt|delay_alu|wait_|nop|clause)/.test(name)) return "wait";
  if (/^s_(cbranch|branch|barrier|endpgm)/.test(name)) return "control";
  return "scalar";
}
