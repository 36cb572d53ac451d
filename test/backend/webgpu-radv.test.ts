/**
 * @file Kernels through a real driver's compiler for real cards: Mesa's RADV on its null device, which needs no card. None of the
 * kernels that decide a step's time may keep registers in memory. Kernels above 16 KiB of workgroup memory and subgroup
 * matrices, which Dawn's null backend can't compile, are compiled here.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileByRadv, parseLog, radvMissing } from "../../bench/kernels/radv.ts";
import { searched } from "../support/thorough.ts";

const missing = await radvMissing();
const options = missing === undefined ? {} : { skip: missing };

test("RADV compiles products, attention and matrices without spills", options, async () => {
  // A thread has as many registers in the tile of 64x64, and fewer in that of 32x64.
  const tiles = searched("128x128", "(128x128|64x64|32x64)");
  const patterns = [`^(linear|gate|conv of joined) ${tiles}`, "^conv of enlarged 128x128", "^attention"];
  const [polaris, navi] = await compileByRadv(["polaris10", "navi31"], patterns, false);
  // The first has no fp16 arithmetic; the second has, and matrices where Mesa is new enough (25).
  const matrices = navi!.kernels.filter(({ key }) => key.startsWith("matrix16x16x16-32-sized/"));
  const offered = (navi!.device.matrices as readonly unknown[]).length > 0;
  assert.equal(polaris!.kernels.length, searched(8, 14));
  assert.equal(navi!.kernels.length, searched(16, 28) + matrices.length);
  assert.equal(matrices.length, offered ? searched(4, 7) : 0);
  for (const { card, kernels } of [polaris!, navi!]) {
    for (const kernel of kernels) {
      const name = `${card}: ${kernel.name}`;
      assert.equal(kernel.error, undefined, name);
      assert.equal(kernel.spilled, 0, `${name}: ${kernel.spilled} registers spilled`);
      assert.equal(kernel.scratchBytes, 0, name);
      assert.ok(kernel.registers > 0 && kernel.registers <= 256, `${name}: ${kernel.registers} registers`);
    }
  }
  assert.ok(navi!.kernels.some(({ workgroupBytes }) => workgroupBytes > 16384));
});

test("spills and failures are read from the driver's words", () => {
  const log = `@@ device {"name":"a card"}
@@ kernel {"name":"linear","key":"gemm/x"}
*** SHADER STATS ***
VGPRs: 128
Spilled SGPRs: 1
Spilled VGPRs: 7
LDS size: 16384
Scratch size: 512
Subgroups per SIMD: 2
Instructions: 40
BB1:
\tv_mac_f32_e32 v1, v2, v3 ; 00
\tds_read_b128 v[1:4], v5 ; 00
\ts_cbranch_scc0 BB1 ; 00
@@ kernel {"name":"gate","key":"gemm/y"}
@@ failed "E_GPU gemm/y: no"
@@ end
`;
  const { device, kernels } = parseLog(log);
  assert.equal(device.name, "a card");
  const [linear, gate] = kernels;
  assert.deepEqual(
    [linear!.registers, linear!.spilled, linear!.scratchBytes, linear!.subgroupsPerSimd, linear!.error],
    [128, 7, 512, 2, undefined],
  );
  assert.deepEqual(linear!.hot!.inner, { fma: 1, sharedRead: 1, control: 1 });
  assert.equal(gate!.error, "E_GPU gemm/y: no");
});
