/** @file Which of Dawn's backends a platform is asked for, and what happens where one shows no card or gives no device on it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NEEDED_LIMITS } from "../../src/backend/webgpu/adapter/adapter.ts";
import { DeviceError } from "../../src/errors.ts";
import { adapterFindings } from "../../src/node/doctor.ts";
import { type BackendListing, backendsOf, listBackends, noneBecause, openBest } from "../../src/node/gpu/backends.ts";

/** What a backend has: names of cards, those in capitals without a device; or why it can't be asked. */
type Card = {
  readonly device: string;
  readonly vendor?: string;
  readonly opens?: boolean;
  readonly fallback?: boolean;
};
type Machine = Readonly<Record<string, readonly Card[] | Error>>;

/** Dawn as far as it is used, on a machine of that kind. `made`: each device, by its backend and card. */
function dawnOn(machine: Machine) {
  const made: string[] = [];
  const create = (backend: string): GPU => {
    const cards = machine[backend] ?? [];
    if (cards instanceof Error) throw cards;
    const requestAdapter = async ({ powerPreference, forceFallbackAdapter = false }: GPURequestAdapterOptions = {}) => {
      const fitting = cards.filter(({ fallback = false }) => fallback === forceFallbackAdapter);
      const card = powerPreference === "low-power" ? fitting.at(-1) : fitting[0];
      return card ? adapterOf(card, () => made.push(`${backend} ${card.device}`)) : null;
    };
    return { requestAdapter } as unknown as GPU;
  };
  return { create, made };
}

function adapterOf(
  { device, vendor = "nvidia", opens = true, fallback = false }: Card,
  onMade: () => void,
): GPUAdapter {
  const requestDevice = async () => {
    if (!opens) throw new Error(`no device on ${device}\nmore`);
    onMade();
    return {};
  };
  const info = { vendor, architecture: "", device, description: "", isFallbackAdapter: fallback };
  return { info, limits: NEEDED_LIMITS, features: new Set<string>(), requestDevice } as unknown as GPUAdapter;
}

const GTX = { device: "NVIDIA GeForce GTX 1060 6GB" };
const BROKEN = { ...GTX, opens: false };
const UHD = { device: "Intel UHD Graphics 630", vendor: "intel" };
const WARP = { device: "Microsoft Basic Render Driver", vendor: "microsoft", fallback: true };

async function onWindows(machine: Machine, asked?: string) {
  const { create, made } = dawnOn(machine);
  const listings = await listBackends(backendsOf("win32"), create, () => undefined);
  const outcome = await openBest(listings, create, asked).then(
    ({ facts, notes }) => ({ backend: facts.backend, notes }),
    (error: unknown) => {
      assert.ok(error instanceof DeviceError, String(error));
      return error;
    },
  );
  return { listings, made, outcome };
}

test("each platform's backends: Vulkan before D3D12 on Windows, Metal on macOS, Vulkan elsewhere", () => {
  assert.deepEqual(backendsOf("win32"), ["vulkan", "d3d12"]);
  assert.deepEqual(backendsOf("darwin"), ["metal"]);
  assert.deepEqual(backendsOf("linux"), ["vulkan"]);
  assert.deepEqual(backendsOf("freebsd"), ["vulkan"]);
});

test("Windows with Vulkan: D3D12 is listed and not opened", async () => {
  const { listings, made, outcome } = await onWindows({ vulkan: [GTX, UHD], d3d12: [GTX, UHD, WARP] });
  assert.deepEqual(outcome, { backend: "vulkan", notes: [] });
  assert.deepEqual(made, ["vulkan NVIDIA GeForce GTX 1060 6GB"]);
  assert.deepEqual(
    listings.map(({ adapters }) => adapters.map(({ facts }) => facts.device.split(" ")[0])),
    [
      ["NVIDIA", "Intel"],
      ["NVIDIA", "Intel", "Microsoft"],
    ],
  );
  const uses = adapterFindings(listings.flatMap(({ adapters }) => adapters.map(({ facts }) => facts)));
  assert.match(uses[0]!.text, /GTX 1060 6GB \(vulkan\): used by --backend auto/);
  assert.match(uses[2]!.text, /GTX 1060 6GB \(d3d12\): the same card, used where vulkan gives no device/);
  for (const at of [1, 3, 4]) assert.match(uses[at]!.text, /: only when named with --adapter/);
});

test("Windows without Vulkan: D3D12, and a note that says why", async () => {
  const missing = new Error("vulkan-1.dll: not found\nat Instance.cpp");
  for (const [vulkan, why] of [
    [[], "no adapter"],
    [missing, "vulkan-1.dll: not found"],
  ] as const) {
    const { made, outcome } = await onWindows({ vulkan, d3d12: [GTX, WARP] });
    assert.deepEqual(outcome, { backend: "d3d12", notes: [`vulkan: ${why}: computing through d3d12`] });
    assert.deepEqual(made, ["d3d12 NVIDIA GeForce GTX 1060 6GB"]);
  }
});

test("a card on which Vulkan gives no device is opened through D3D12, and no other card in its place", async () => {
  const { made, outcome } = await onWindows({ vulkan: [BROKEN, UHD], d3d12: [UHD, GTX] });
  assert.ok(!(outcome instanceof DeviceError), String(outcome));
  assert.equal(outcome.backend, "d3d12");
  assert.deepEqual(made, ["d3d12 NVIDIA GeForce GTX 1060 6GB"]);
  assert.deepEqual(outcome.notes, [
    "vulkan failed (the driver gives no device on this adapter (no device on NVIDIA GeForce GTX 1060 6GB)): computing through d3d12",
  ]);
  const alone = await onWindows({ vulkan: [BROKEN], d3d12: [UHD] });
  assert.ok(alone.outcome instanceof DeviceError);
  assert.equal(alone.outcome.code, "E_GPU_OPEN");
  assert.deepEqual(alone.made, []);
});

test("where both fail, the error names both", async () => {
  const { outcome } = await onWindows({ vulkan: [BROKEN], d3d12: [BROKEN] });
  assert.ok(outcome instanceof DeviceError);
  assert.equal(outcome.code, "E_GPU_OPEN");
  assert.match(outcome.message, /vulkan: the driver gives no device .*; d3d12: the driver gives no device .*Next: /);
  const none = await onWindows({ vulkan: new Error("no loader"), d3d12: [] });
  assert.ok(none.outcome instanceof DeviceError);
  assert.equal(none.outcome.code, "E_NO_ADAPTER");
  assert.match(none.outcome.message, /found: none; vulkan: no loader; d3d12: no adapter/);
});

test("a name can ask for a backend, which is then the only one", async () => {
  assert.deepEqual((await onWindows({ vulkan: [GTX], d3d12: [GTX] }, "d3d12")).outcome, {
    backend: "d3d12",
    notes: [],
  });
  const { made, outcome } = await onWindows({ vulkan: [BROKEN], d3d12: [GTX] }, "vulkan");
  assert.ok(outcome instanceof DeviceError);
  assert.deepEqual(made, []);
  const byCard = await onWindows({ vulkan: [BROKEN, UHD], d3d12: [UHD, GTX] }, "gtx-1060");
  assert.deepEqual(byCard.made, ["d3d12 NVIDIA GeForce GTX 1060 6GB"]);
});

test("D3D12's software adapter is never taken by itself", async () => {
  const { outcome } = await onWindows({ vulkan: [], d3d12: [WARP] });
  assert.ok(outcome instanceof DeviceError);
  assert.equal(outcome.code, "E_NO_ADAPTER");
  assert.match(outcome.message, /Basic Render Driver \(d3d12, software\)/);
});

test("a backend that isn't worth asking isn't asked, and its reason is the whole reason where it is the only one", async () => {
  const { create } = dawnOn({ vulkan: new Error("was asked") });
  const listings: readonly BackendListing[] = await listBackends(["vulkan"], create, () => "its loader is missing");
  assert.equal(noneBecause(listings), "its loader is missing");
  assert.equal(noneBecause(await listBackends(["metal"], dawnOn({}).create, () => undefined)), undefined);
});
